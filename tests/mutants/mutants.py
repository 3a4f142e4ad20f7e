"""What must never break, each broken on purpose: one small change of the code, and the tests that must notice.

`before` stands in `module` exactly once and becomes `after`. At least one of `tests` has to fail then; all of them
pass on the code as it is. `make test-mutants` runs the list, `test_mutants.py` keeps it from going stale.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One break."""

    name: str
    module: str
    before: str
    after: str
    tests: tuple[str, ...]


MACHINE = "tests/smtp/test_session_machine.py::test_sessions_are_those_of_the_reference"
AFTER_ERRORS = "tests/smtp/test_session_machine.py::test_after_every_error_the_session_is_what_it_was[after RCPT-DATA]"
RELOAD = "tests/e2e/test_reload_all_or_nothing.py::test_a_reload_is_all_or_nothing"


def dialog(name: str) -> str:
    """The test that plays a dialogue of a client."""
    return f"tests/smtp/test_dialogs.py::test_dialog[{name}]"


def upstream(name: str) -> str:
    """The test that plays a dialogue with SES's SMTP endpoint."""
    return f"tests/delivery/test_ses_smtp_dialogues.py::test_dialogue[asyncio-{name}]"


def bad_configuration(name: str) -> str:
    """The test that loads a configuration that must be refused."""
    test = "tests/settings/test_settings_golden.py::test_a_bad_configuration_is_refused_with_every_problem_at_once"
    return f"{test}[{name}]"


# The dialogue

DIALOGUE = (
    Mutant(
        "no reset after a message",
        "relay/smtp/session.py",
        "            self.end_of_message()\n            self._set_rset_state()\n",
        "            self.end_of_message()\n",
        (dialog("ses_refuses"), MACHINE),
    ),
    Mutant(
        "no reset after an error of ours",
        "relay/smtp/session.py",
        "                self._set_rset_state()\n                self._refuse(replies.INTERNAL, line)",
        "                self._refuse(replies.INTERNAL, line)",
        (AFTER_ERRORS,),
    ),
    Mutant(
        "LF.LF accepted as the end of data",
        "relay/smtp/collector.py",
        "data = self._undecided + chunk",
        r'data = (self._undecided + chunk).replace(b"\n.\n", b"\r\n.\r\n")',
        (dialog("smuggling"), "tests/smtp/test_collector.py::test_only_crlf_dot_crlf_ends_a_message"),
    ),
    Mutant(
        "CR.CR accepted as the end of data",
        "relay/smtp/collector.py",
        "data = self._undecided + chunk",
        r'data = (self._undecided + chunk).replace(b"\r.\r", b"\r\n.\r\n")',
        ("tests/smtp/test_collector.py::test_only_crlf_dot_crlf_ends_a_message",),
    ),
    Mutant(
        "the end of data is not found past the size limit",
        "relay/smtp/collector.py",
        "self._undecided = _undecided(data)",
        'self._undecided = b"" if self.oversize else _undecided(data)',
        ("tests/smtp/test_collector.py::test_the_limit_counts_unstuffed_bytes_at_any_chunking",),
    ),
    Mutant(
        "exception answered 550",
        "relay/smtp/session.py",
        "self._refuse(replies.INTERNAL, line)",
        "self._refuse(replies.SENDER_NOT_ALLOWED, line)",
        (AFTER_ERRORS,),
    ),
    Mutant(
        "exception on a message answered 550",
        "relay/intake.py",
        "            reply = replies.INTERNAL\n",
        "            reply = replies.SENDER_NOT_ALLOWED\n",
        (dialog("our_fault"),),
    ),
    Mutant(
        "exception text shown",
        "relay/intake.py",
        "            reply = replies.INTERNAL\n",
        '            reply = Reply(451, "4.3.0", str(error))\n',
        (dialog("our_fault"),),
    ),
    Mutant(
        "errors are not counted",
        "relay/smtp/session.py",
        "        self._errors_left -= reply.code >= 500\n",
        "",
        (dialog("too_many_errors"),),
    ),
    Mutant(
        "replies before the client may hear them",
        "relay/smtp/session.py",
        "        self.dialogue.check_data()\n        self.say_raw(_GO_AHEAD)\n",
        "        self.say_raw(_GO_AHEAD)\n",
        (dialog("order"),),
    ),
    Mutant(
        "client's cancel cancels the message",
        "relay/smtp/handler.py",
        "await asyncio.shield(hand_on(self._intake.accept(submission)))",
        "await hand_on(self._intake.accept(submission))",
        ("tests/smtp/test_session_machine.py::test_who_vanishes_while_ses_thinks_does_not_stop_the_message",),
    ),
)

# Who may send what

ADMISSION = (
    Mutant(
        "sender without a rule accepted",
        "relay/smtp/handler.py",
        "        book.router.route(sender)\n",
        "",
        (dialog("no_rule"),),
    ),
    Mutant(
        "sender check skipped",
        "relay/smtp/handler.py",
        "if not rule.may_send_as(sender):",
        "if False:",
        (dialog("client_senders"),),
    ),
    Mutant(
        "recipients check skipped",
        "relay/smtp/handler.py",
        "if not self._admitted(book).may_send_to(recipient):",
        "if not self._admitted(book):",
        (dialog("client_recipients"),),
    ),
    Mutant(
        "a denied recipient that is allowed gets through",
        "relay/policy/admission.py",
        "return self.deny.match(address) is None and self.allow.match(address) is not None",
        "return self.deny.match(address) is None or self.allow.match(address) is not None",
        ("tests/policy/test_admission.py",),
    ),
    Mutant(
        "header From check skipped",
        "relay/policy/authorship.py",
        "        if not self._covers(arn, mailboxes):\n            raise Rejection(HEADER_FROM_NOT_ALLOWED)\n",
        "",
        ("tests/policy/test_headers_from.py::test_every_mailbox_must_be_covered",),
    ),
    Mutant(
        "only the first mailbox of From is checked",
        "relay/policy/authorship.py",
        "return all(arn.covers(*split(mailbox)) for mailbox in mailboxes)",
        "return arn.covers(*split(mailboxes[0]))",
        ("tests/policy/test_headers_from.py::test_every_mailbox_must_be_covered",),
    ),
    Mutant(
        "header From not held to the client's list",
        "relay/policy/authorship.py",
        "        if not all(map(self.client_rule.may_send_as, mailboxes)):\n"
        "            raise Rejection(HEADER_FROM_NOT_ALLOWED)\n",
        "",
        (dialog("client_header_from"),),
    ),
    Mutant(
        "second From accepted",
        "relay/policy/authorship.py",
        "if len(written) > 1 or not (written or added):",
        "if not (written or added):",
        ("tests/policy/test_headers_from.py::test_there_is_exactly_one_from",),
    ),
    Mutant(
        "a login fits entries without users",
        "relay/policy/admission.py",
        "            return self.users is None and user is None\n",
        "            return self.users is None\n",
        ("tests/policy/test_admission.py::test_a_login_fits_only_entries_that_name_its_user",),
    ),
    Mutant(
        "PROXY believed from anyone",
        "relay/smtp/door.py",
        "return address is not None and any(address in network for network in self.proxies)",
        "return bool(self.proxies)",
        ("tests/smtp/test_proxied_sessions.py::test_a_header_from_anybody_else_is_not_believed",),
    ),
    Mutant(
        "a stranger whom the proxy cannot name is the proxy",
        "relay/smtp/protocol.py",
        "if preamble.origin is not Unnamed.LOCAL:",
        "if isinstance(preamble.origin, Source):",
        ("tests/smtp/test_proxied_sessions.py::test_a_client_that_the_proxy_cannot_name_is_nobody",),
    ),
    Mutant(
        "who comes from nowhere may log in as if from loopback",
        "relay/smtp/door.py",
        "(peer is None or (address is not None and address.is_loopback))",
        "(address is None or address.is_loopback)",
        ("tests/smtp/test_proxied_sessions.py::test_a_client_that_the_proxy_cannot_name_logs_in_only_as_strangers_do",),
    ),
    Mutant(
        "who has reset the connection comes by a Unix socket",
        "relay/smtp/door.py",
        "return str(name[0]) if isinstance(name, tuple) else UNKNOWN_PEER",
        "return str(name[0]) if isinstance(name, tuple) else None",
        ("tests/smtp/test_sessions_cut_off.py::test_who_resets_the_connection_is_not_taken_for_a_unix_socket",),
    ),
    Mutant(
        "open-relay check skipped",
        "relay/settings/exposure.py",
        "        if not cover_everything((*together, *networks)):\n",
        "        if True:\n",
        (bad_configuration("open_relay"),),
    ),
    Mutant(
        "two halves of the world are no open relay",
        "relay/settings/exposure.py",
        "        if not cover_everything((*together, *networks)):\n",
        "        if not cover_everything(networks):\n",
        (bad_configuration("open_relay_together"),),
    ),
    Mutant(
        "what a proxy brings to loopback comes from loopback",
        "relay/settings/exposure.py",
        " and not listener.proxy_protocol_from",
        "",
        (bad_configuration("open_relay_behind_a_proxy"),),
    ),
)

# TLS and logins

LOGINS = (
    Mutant(
        "STARTTLS keeps the buffer",  # which the library would clear as well, so it has to come back later
        "relay/smtp/protocol.py",
        "        self._reader._buffer.clear()  # type: ignore[attr-defined]\n"
        "        self._reader._maybe_resume_transport()  # type: ignore[attr-defined] # paused by too much of it\n"
        "        self._tls_protocol =",
        "        kept = bytes(self._reader._buffer)\n"
        "        handshake.add_done_callback(lambda _: self._reader.feed_data(kept))\n"
        "        self._tls_protocol =",
        ("tests/smtp/test_tls_and_auth.py::test_what_was_injected_before_tls_is_gone",),
    ),
    Mutant(
        "STARTTLS keeps the session",
        "relay/smtp/handler.py",
        '        self.reset()\n        self.client = replace(self.client, tls=True, helo="", user=None)\n',
        "        self.client = replace(self.client, tls=True)\n",
        ("tests/smtp/test_session_machine.py::test_what_was_said_before_tls_is_forgotten",),
    ),
    Mutant(
        "require_tls ignored",
        "relay/smtp/session.py",
        "if self._door.require_tls and not self.over_tls and verb not in _BEFORE_TLS:",
        "if False:",
        ("tests/smtp/test_tls_and_auth.py::test_require_tls_lets_nothing_through_in_clear",),
    ),
    Mutant(
        "AUTH without TLS accepted when never",
        "relay/smtp/door.py",
        'return self.auth_without_tls == "loopback" and',
        "return",
        ("tests/smtp/test_tls_and_auth.py::test_no_password_in_clear_where_that_is_not_wanted",),
    ),
    Mutant(
        "old TLS on the modern profile",
        "relay/smtp/tls.py",
        "    context.minimum_version = ssl.TLSVersion.TLSv1_2\n",
        "    context.minimum_version = ssl.TLSVersion.TLSv1\n    context.set_ciphers(_LEGACY_CIPHERS)\n",
        ("tests/smtp/test_tls_and_auth.py::test_the_modern_profile_refuses_old_tls_and_the_legacy_one_takes_it",),
    ),
    Mutant(
        "password logged",
        "relay/smtp/session.py",
        "    if _SHOWN_WHOLE.match(line):\n",
        "    if verb in _COMMANDS:\n",
        ("tests/smtp/test_session_log.py::test_a_password_that_comes_uninvited_is_not_logged",),
    ),
    Mutant(
        "password logged that comes as a line of its own",
        "relay/smtp/session.py",
        'else f"unknown, {len(line)} bytes"',
        'else f"unknown, {line!r}"',
        ("tests/smtp/test_session_log.py::test_a_password_that_comes_uninvited_is_not_logged",),
    ),
    Mutant(
        "failed logins not counted in a session",
        "relay/smtp/session.py",
        "            self._logins_left -= 1\n",
        "",
        ("tests/smtp/test_tls_and_auth.py::test_a_wrong_password_is_535_and_the_third_ends_the_session",),
    ),
    Mutant(
        "failed logins not counted by address",
        "relay/smtp/auth.py",
        "        failures.times.append(self._clock.now())\n",
        "        failures.times.extend(())\n",
        ("tests/smtp/test_auth.py::test_too_many_failures_close_the_address_for_a_while_even_for_the_right_password",),
    ),
    Mutant(
        "wrong password remembered",
        "relay/smtp/auth.py",
        "            right = await asyncio.to_thread(_verify, stored or _decoy(), password)\n",
        "            right = await asyncio.to_thread(_verify, stored or _decoy(), password)\n"
        "        self._remember(mark)\n",
        ("tests/smtp/test_auth.py::test_each_failure_of_an_address_is_answered_later",),
    ),
    Mutant(
        "remembered without the password",
        "relay/smtp/auth.py",
        'parts = (user.encode("utf-8", "surrogateescape"), password, stored.encode())',
        'parts = (user.encode("utf-8", "surrogateescape"), stored.encode())',
        ("tests/smtp/test_auth.py::test_a_right_login_is_remembered_for_a_while_and_for_that_password_only",),
    ),
    Mutant(
        "trouble with a hash answered as a wrong password",
        "relay/smtp/auth.py",
        '        raise AuthTrouble(f"a hash cannot be checked: {type(error).__name__}") from error\n',
        "        return False\n",
        ("tests/smtp/test_auth.py::test_a_hash_that_cannot_be_checked_is_trouble_and_no_wrong_password",),
    ),
    Mutant(
        "secrets file permission check skipped",
        "relay/settings/credentials.py",
        "    if mode & stat.S_IROTH:\n",
        "    if False:\n",
        ("tests/settings/test_settings_files.py",),
    ),
)

# Limits

LIMITS = (
    Mutant(
        "size limit ignored",
        "relay/smtp/collector.py",
        "        if len(self.content) + len(data) > self._limit:\n",
        "        if False:\n",
        (dialog("message_too_big"),),
    ),
    Mutant(
        "declared size ignored",
        "relay/smtp/handler.py",
        "if declared.size > book.message_bytes:",
        "if False:",
        (dialog("parameters"), dialog("message_too_big")),
    ),
    Mutant(
        "recipients limit ignored",
        "relay/smtp/handler.py",
        "if recipient not in self._recipients and len(self._recipients) >= book.recipients:",
        "if False:",
        (dialog("too_many_recipients"),),
    ),
    Mutant(
        "connection limit ignored",
        "relay/smtp/server.py",
        "if crowded or len(self._connections) >= limits.connections:",
        "if crowded:",
        ("tests/smtp/test_session_limits.py::test_connections_over_the_limit_are_turned_away_and_room_comes_back",),
    ),
    Mutant(
        "connection limit of one client ignored",
        "relay/smtp/server.py",
        "if crowded or len(self._connections) >= limits.connections:",
        "if len(self._connections) >= limits.connections:",
        ("tests/smtp/test_session_limits.py::test_connections_of_one_client_are_limited_too",),
    ),
    Mutant(
        "in-flight limit ignored",
        "relay/smtp/server.py",
        "return self.taken <= self.limit",
        "return True",
        ("tests/smtp/test_session_limits.py::test_bytes_in_flight_are_limited_over_all_clients",),
    ),
    Mutant(
        "room never comes back",
        "relay/smtp/server.py",
        "        self.taken -= self._held.pop(id(collector), 0)\n",
        "        self._held.pop(id(collector), 0)\n",
        ("tests/smtp/test_session_limits.py::test_bytes_in_flight_are_limited_over_all_clients",),
    ),
    Mutant(
        "slow senders may stay",
        "relay/smtp/clocks.py",
        "    if limits.data_bytes_per_s > 0:\n",
        "    if False:\n",
        ("tests/smtp/test_session_limits.py::test_data_that_trickles_is_cut_off_by_its_rate",),
    ),
    Mutant(
        "idle sessions may stay",
        "relay/smtp/clocks.py",
        "Deadline(min(last_byte + limits.idle_s, opened + limits.session_s), replies.IDLE)",
        "Deadline(opened + limits.session_s, replies.IDLE)",
        ("tests/smtp/test_session_limits.py::test_an_idle_session_is_told_and_closed_after_idle_s",),
    ),
    Mutant(
        "hops not counted",
        "relay/policy/headers.py",
        'if len(section.named("received")) > rules.hops:',
        "if False:",
        ("tests/policy/test_headers.py::test_hops_are_counted",),
    ),
    Mutant(
        "drain does not wait",
        "relay/smtp/server.py",
        "                await self._quiet.wait()\n",
        "                raise TimeoutError\n",
        ("tests/smtp/test_session_limits.py::test_the_drain_closes_idle_sessions_and_lets_busy_ones_finish",),
    ),
)

# What SES gets

HEADERS = (
    Mutant(
        "no header stripping",
        "relay/policy/stripping.py",
        '        elif field.name.startswith("x-ses-"):\n',
        "        elif False:\n",
        ("tests/policy/test_headers.py::test_what_is_kept_follows_our_block",),
    ),
    Mutant(
        "only exact-case stripping",
        "relay/policy/fields.py",
        'yield Field(match[1].decode("ascii").lower(), at,',
        'yield Field(match[1].decode("ascii"), at,',
        (
            "tests/policy/test_headers.py::test_what_is_kept_follows_our_block",
            "tests/policy/test_headers_properties.py::test_kept_fields_and_body_are_those_of_the_oracle",
        ),
    ),
    Mutant(
        "stripping misses blanks before the colon",
        "relay/policy/fields.py",
        r'_NAME = rb"([!-9;-~]++)[ \t]*+:"',
        r'_NAME = rb"([!-9;-~][!-9;-~ \t]*+):"',
        ("tests/policy/test_headers.py::test_what_is_kept_follows_our_block",),
    ),
    Mutant(
        "Bcc stays",
        "relay/policy/stripping.py",
        "        elif field.name not in strip:\n",
        "        else:\n",
        ("tests/policy/test_headers.py::test_what_is_kept_follows_our_block",),
    ),
    Mutant(
        "first ARN header not first",
        "relay/policy/headers.py",
        '        ("X-SES-SOURCE-ARN", str(identity.source_arn)),\n        ("X-SES-FROM-ARN", str(from_arn)),\n',
        '        ("X-SES-FROM-ARN", str(from_arn)),\n        ("X-SES-SOURCE-ARN", str(identity.source_arn)),\n',
        ("tests/policy/test_headers.py::test_our_block_is_written_in_the_order_of_the_contract",),
    ),
    Mutant(
        "From ARN missing",
        "relay/policy/headers.py",
        '        ("X-SES-FROM-ARN", str(from_arn)),\n',
        "",
        ("tests/policy/test_headers.py::test_our_block_is_written_in_the_order_of_the_contract",),
    ),
    Mutant(
        "our block ends the header",
        "relay/policy/headers.py",
        'return b"".join(_line(name, value) for name, value in lines)',
        r'return b"".join(_line(name, value) for name, value in lines) + b"\r\n"',
        ("tests/policy/test_headers.py::test_what_is_kept_follows_our_block",),
    ),
    Mutant(
        "bare CR and LF kept",
        "relay/policy/content.py",
        "    if not has_stray(content):\n",
        "    if True:\n",
        (dialog("stray_line_endings"), "tests/policy/test_headers_properties.py"),
    ),
    Mutant(
        "bare CR passed to SMTP upstream",
        "relay/delivery/dot_stuffing.py",
        "        if watch.sees(chunk):\n",
        "        if False:\n",
        ("tests/delivery/test_ses_smtp_content.py::test_stray_line_endings_never_reach_the_end",),
    ),
    Mutant(
        "dot-stuffing omitted",
        "relay/delivery/dot_stuffing.py",
        "        ready = _stuff(before, chunk)\n",
        "        ready = chunk\n",
        ("tests/delivery/test_ses_smtp_content.py::test_any_cut_gives_the_reference",),
    ),
    Mutant(
        "commands in an address said upstream",
        "relay/delivery/smtp_client.py",
        "    if not _PATH.fullmatch(address):\n",
        "    if False:\n",
        ("tests/delivery/test_ses_smtp_content.py::test_addresses_that_are_commands_are_not_said",),
    ),
    Mutant(
        "credentials forgotten",
        "relay/policy/parcels.py",
        "credentials=identity.credentials,",
        'credentials="default",',
        ("tests/policy/test_parcels.py::test_the_parcel_goes_out_as_the_envelope_says",),
    ),
    Mutant(
        "credentials forgotten by SMTP",
        "relay/delivery/ses_smtp.py",
        "key = parcel.region, parcel.credentials\n",
        'key = parcel.region, "default"\n',
        ("tests/delivery/test_ses_smtp_transport.py::test_each_region_and_each_login_has_its_own_sessions",),
    ),
)

# What becomes of it

OUTCOMES = (
    Mutant(
        "250 without SES",
        "relay/delivery/acceptance.py",
        "return replies.accepted(outcome.message_id) if isinstance(outcome, Delivered) else outcome.reply",
        'return replies.accepted(getattr(outcome, "message_id", ""))',
        (dialog("ses_not_now"),),
    ),
    Mutant(
        "temporary failure answered 5yz",
        "relay/policy/outcomes.py",
        "    if final:\n",
        "    if True:\n",
        ("tests/policy/test_outcomes.py::test_samples",),
    ),
    Mutant(
        "what is unknown is a refusal",
        "relay/policy/outcomes.py",
        '_UNKNOWN: Final = Row("unknown", Kind.PASSING,',
        '_UNKNOWN: Final = Row("unknown", Kind.LASTING,',
        ("tests/policy/test_outcomes.py::test_samples",),
    ),
    Mutant(
        "lost answer retried",
        "relay/policy/backoff.py",
        "    if outcome.cause not in _WORTH_ANOTHER_TRY:\n",
        "    if outcome.cause not in {*_WORTH_ANOTHER_TRY, Cause.LOST_ANSWER}:\n",
        ("tests/policy/test_backoff.py::test_everything_else_is_not_and_a_lost_answer_least_of_all",),
    ),
    Mutant(
        "lost answer taken for a broken connection",
        "relay/delivery/smtp_dialogue.py",
        "        if self.stage is Stage.FINAL:\n",
        "        if False:\n",
        (upstream("lost_answer_close"),),
    ),
    Mutant(
        "stale connection retried twice",
        "relay/delivery/smtp_pool.py",
        "            if kept:\n                try:\n",
        "            for kept in filter(None, (kept, self._take())):\n                try:\n",
        (
            "tests/delivery/test_ses_smtp_pool.py::test_a_stale_session_is_replaced_exactly_once",
            upstream("stale_twice"),
        ),
    ),
    Mutant(
        "SES is not asked who it is",
        "relay/aws/trust.py",
        "    context.minimum_version = ssl.TLSVersion.TLSv1_2\n",
        "    context.check_hostname = False\n",
        ("tests/aws/test_trust.py::test_verification",),
    ),
    Mutant(
        "reload not all-or-nothing",
        "relay/app.py",
        "        contexts = [door_of(listener).context for listener in self.settings.listeners]\n",
        "        self._logins.change(settings.users)\n"
        "        contexts = [door_of(listener).context for listener in self.settings.listeners]\n",
        (RELOAD,),
    ),
    Mutant(
        "reload forgets the rules",
        "relay/app.py",
        "self._intake.change(book, courier)",
        "self._intake.change(self._intake.book, courier)",
        (RELOAD,),
    ),
)

MUTANTS = (*DIALOGUE, *ADMISSION, *LOGINS, *LIMITS, *HEADERS, *OUTCOMES)
