"""Every reply that the relay sends, by name: the reply contract as one list.

Codes are RFC 5321, enhanced codes RFC 3463 and RFC 5248. Texts are for the developer of the application that
sent the mail: what is wrong and who can mend it, and nothing of our insides. Replies that quote SES are made
in `relay.policy.outcomes`.
"""

from relay.errors import Reply

# Done
OK = Reply(250, "2.0.0", "Ok")
SENDER_OK = Reply(250, "2.1.0", "Ok")
RECIPIENT_OK = Reply(250, "2.1.5", "Ok")
VERIFY_UNKNOWN = Reply(252, "2.5.0", "Cannot verify, but will take the message and try")
HELP = Reply(214, "2.0.0", "EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY, and what EHLO offers")
LOGGED_IN = Reply(235, "2.7.0", "Authentication successful")
READY_FOR_TLS = Reply(220, "2.0.0", "Ready to start TLS")
BYE = Reply(221, "2.0.0", "Bye")

# Not now
INTERNAL = Reply(451, "4.3.0", "Temporary failure in the relay, please try again")
SHUTTING_DOWN = Reply(421, "4.3.2", "The relay is shutting down, please try again")
IDLE = Reply(421, "4.4.2", "Timeout, closing the connection")
TOO_SLOW = Reply(421, "4.4.2", "The message arrives too slowly, closing the connection")
TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", "Too many connections, please try again later")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors, closing the connection")
NOT_HTTP = Reply(421, "4.7.0", "This is a mail server, closing the connection")
NOT_FROM_PROXIES = Reply(421, "4.7.0", "No PROXY header is believed here, closing the connection")
LOGIN_TROUBLE = Reply(454, "4.7.0", "Logins cannot be checked at the moment, please try again later")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients, send the others in another message")
SENDING_AT_LIMIT = Reply(451, "4.4.5", "The relay sends as fast as it may, please try again")
MESSAGE_DAMAGED = Reply(451, "4.3.0", "The copy of the message in the relay's queue is damaged or missing")
SES_GIVES_NO_ANSWERS = Reply(451, "4.4.1", "Amazon SES gives no answers at the moment")
SPOOL_FULL = Reply(452, "4.3.1", "The relay has no room for more mail, please try again later")
SPOOL_FAILING = Reply(451, "4.3.0", "The relay cannot store mail at the moment, please try again later")
NO_ROOM = Reply(452, "4.3.1", "The relay has too much mail in hand, please try again")

# Refused: the dialogue
COMMAND_UNKNOWN = Reply(500, "5.5.2", "Command not recognized")
COMMAND_TOO_LONG = Reply(500, "5.5.2", "Command line too long")
SYNTAX_HELO = Reply(501, "5.5.4", "Syntax: EHLO hostname")
SYNTAX_MAIL = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address>")
SYNTAX_RCPT = Reply(501, "5.5.4", "Syntax: RCPT TO:<address>")
SYNTAX_NO_ARGUMENT = Reply(501, "5.5.4", "This command takes no argument")
SYNTAX_SIZE = Reply(501, "5.5.4", "Syntax: SIZE=bytes")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Command not implemented")
NEED_HELO = Reply(503, "5.5.1", "Send EHLO first")
NEED_MAIL = Reply(503, "5.5.1", "Send MAIL first")
NEED_RECIPIENT = Reply(503, "5.5.1", "Send RCPT first")
NESTED_MAIL = Reply(503, "5.5.1", "Sender already given, send RSET to start again")
ALREADY_TLS = Reply(503, "5.5.1", "TLS is already active")
TLS_NOT_OFFERED = Reply(502, "5.5.1", "STARTTLS is not offered here")
SYNTAX_AUTH = Reply(501, "5.5.4", "Syntax: AUTH mechanism")
AUTH_ABORTED = Reply(501, "5.7.0", "Authentication aborted")
AUTH_BASE64 = Reply(501, "5.5.2", "That is no answer to the challenge")
AUTH_MECHANISM = Reply(504, "5.5.4", "Only AUTH PLAIN and AUTH LOGIN are offered")
AUTH_OUT_OF_TURN = Reply(503, "5.5.1", "Authentication comes once, and before MAIL")
AUTH_NEEDS_TLS = Reply(538, "5.7.11", "A password is taken over TLS only, send STARTTLS first")
NEED_TLS = Reply(530, "5.7.0", "Send STARTTLS first")
NEED_TLS_FOR_AUTH = Reply(530, "5.7.0", "Send STARTTLS first, then log in")
NEED_AUTH = Reply(530, "5.7.0", "Authentication required")
BAD_LOGIN = Reply(535, "5.7.8", "User name or password is wrong")
AUTH_NOT_OFFERED = Reply(502, "5.5.1", "AUTH is not offered here")
PARAMETER_UNKNOWN = Reply(555, "5.5.4", "Parameter not recognized")
PARAMETER_REFUSED = Reply(555, "5.5.4", "SMTPUTF8 and BINARYMIME are not offered")

# Refused: addresses
BAD_SENDER = Reply(553, "5.1.7", "The sender address is malformed")
BAD_RECIPIENT = Reply(553, "5.1.3", "The recipient address is malformed")
NON_ASCII_LOCAL_PART = Reply(553, "5.6.7", "Non-ASCII characters before the @ are not supported by Amazon SES")

# Refused: policy
NOT_A_CLIENT = Reply(550, "5.7.1", "This host is not one of the relay's clients")
USER_NOT_FROM_HERE = Reply(550, "5.7.1", "The login is right, but this user may not send from this address")
NO_RULE = Reply(550, "5.7.1", "No identity is configured for this sender")
NO_RULE_NULL = Reply(550, "5.1.7", "No identity is configured for the null sender <>")
SENDER_NOT_ALLOWED = Reply(550, "5.7.1", "This client may not use this sender")
RECIPIENT_NOT_ALLOWED = Reply(550, "5.7.1", "This client may not send to this recipient")
HEADER_FROM_NOT_ALLOWED = Reply(550, "5.7.1", "The From header is not one that this client and sender may use")

# Refused: the message
TOO_BIG = Reply(552, "5.3.4", "The message is too big")
HEADERS_TOO_BIG = Reply(554, "5.6.0", "The header section is too big")
HEADERS_MALFORMED = Reply(554, "5.6.0", "The header section has a line that is not a header field")
BAD_FROM = Reply(554, "5.6.0", "The From header is missing, repeated or cannot be parsed")
STRAY_LINE_ENDINGS = Reply(554, "5.6.0", "The message has a CR or LF that is not part of a CRLF")
TOO_MANY_HOPS = Reply(554, "5.4.6", "Too many Received headers, this looks like a mail loop")


def accepted(message_id: str) -> Reply:
    """SES has the message: its id goes into the application's own log."""
    return Reply(250, "2.0.0", f"Ok {message_id}".rstrip())


def queued(mail: str) -> Reply:
    """The spool has the message: the same id is in our log and in `ses-relay queue`."""
    return Reply(250, "2.0.0", f"Ok queued as {mail}")


DRY_RUN = Reply(250, "2.0.0", "Ok dry run")

# Commands that always get the same answer
FIXED = {
    b"NOOP": OK,
    b"HELP": HELP,
    b"VRFY": VERIFY_UNKNOWN,  # RFC 5321 section 3.5.3: never tells which addresses exist
    b"EXPN": NOT_IMPLEMENTED,
}
