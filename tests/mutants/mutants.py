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
LOGIN_HISTORIES = "tests/smtp/test_session_machine.py::test_logins_are_answered_by_what_has_been_tried_before"
RELOADS = "tests/e2e/test_reload_all_or_nothing.py"
RELOAD = f"{RELOADS}::test_a_reload_is_all_or_nothing"
RELOAD_OPENS = f"{RELOADS}::test_clients_that_would_open_the_relay_where_it_listens_are_refused"
WATCH = "tests/delivery/test_spool_watch.py"
RELOAD_SPOOL = f"{RELOADS}::test_a_spool_that_is_not_there_before_a_restart_changes_nothing"
CERTIFICATES = "tests/settings/test_settings_certificates.py"
SETTLEMENT = "tests/delivery/test_settlement.py"
RUNNER_TROUBLE = "tests/delivery/test_queue_runner_trouble.py"
RESERVE = "tests/spool/test_spool_reserve.py"
LOG_REPAIR = "tests/spool/test_log_repair.py"
PACE = "tests/delivery/test_pace.py"
RUNNER_HOLDS = "tests/delivery/test_queue_runner_holds.py"
ENDLESS_SENDERS = "tests/delivery/test_holds.py::test_endless_senders_take_no_endless_room"


def dialog(name: str) -> str:
    """The test that plays a dialogue of a client."""
    return f"tests/smtp/test_dialogs.py::test_dialog[{name}]"


def under_load(name: str) -> str:
    """A test of many logins over real sockets."""
    return f"tests/smtp/test_logins_under_load.py::{name}"


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
        "all unicast addresses are no open relay",
        "relay/settings/addresses.py",
        "plain = [*map(_unmapped, networks), *_NO_STRANGERS]",
        "plain = [*map(_unmapped, networks)]",
        (bad_configuration("open_relay_unicast"),),
    ),
    Mutant(
        "a reload opens the relay where it listens",
        "relay/service.py",
        "standing = relay.settings.listeners\n",
        "standing = ()\n",
        (RELOAD_OPENS,),
    ),
    Mutant(
        "clients are not held to the listeners that stay",
        "relay/settings/exposure.py",
        'beyond = _reachable(listeners) or _reachable(standing, ", open until a restart,")',
        "beyond = _reachable(listeners)",
        ("tests/settings/test_settings_standing.py",),
    ),
    Mutant(
        "encoded-words in envelope addresses accepted",
        "relay/address.py",
        "    if _ENCODED_WORD.search(local):\n",
        "    if False:\n",
        (dialog("addresses"), "tests/policy/test_mailboxes.py", "tests/test_address.py"),
    ),
    Mutant(
        "encoded-words in plain envelope addresses accepted",
        "relay/address.py",
        ' and b"=?" not in match[1]:',
        ":",
        (dialog("addresses"),),
    ),
    Mutant(
        "the From that the relay adds is not parsed",
        "relay/policy/authorship.py",
        "mailboxes = _parsed(added.encode()) if added else",
        "mailboxes = (added,) if added else",
        ("tests/policy/test_headers_from.py::test_a_missing_from_is_read_as_others_read_it",),
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
        "a certificate is not tried before it is needed",
        "relay/settings/exposure.py",
        "        check_pair(certificate, private_key, profile)\n",
        "        return\n",
        (CERTIFICATES,),
    ),
    Mutant(
        "OpenSSL asks for the passphrase of a key",
        "relay/settings/certificates.py",
        "context.load_cert_chain(certificate, private_key, password=_no_passphrase)",
        'context.load_cert_chain(certificate, private_key, password="")',
        (CERTIFICATES,),
    ),
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
        "        self._logins_left -= 1\n",
        "",
        ("tests/smtp/test_tls_and_auth.py::test_a_wrong_password_is_535_and_the_third_ends_the_session",),
    ),
    Mutant(
        "failed logins not counted by address",
        "relay/smtp/auth.py",
        "        record.wrong.add(attempt.mark, self._clock.now())\n",
        "",
        ("tests/smtp/test_auth.py::test_too_many_failures_close_the_address_for_a_while_even_for_the_right_password",),
    ),
    Mutant(
        "wrong password remembered",
        "relay/smtp/auth.py",
        "        if right and attempt.stored is not None:\n",
        "        self._keep(attempt)\n        if right and attempt.stored is not None:\n",
        ("tests/smtp/test_auth.py::test_what_is_wrong_at_one_address_is_wrong_at_all",),
    ),
    Mutant(
        "remembered without the password",
        "relay/smtp/auth.py",
        'parts = (user.encode("utf-8", "surrogateescape"), password, (stored or "").encode())',
        'parts = (user.encode("utf-8", "surrogateescape"), (stored or "").encode())',
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
        "one address may queue any number of logins",
        "relay/smtp/auth.py",
        "        if record.under_way >= CHECKS_EACH:\n",
        "        if False:\n",
        (
            under_load("test_one_address_does_not_make_everybody_wait"),
            "tests/smtp/test_auth.py::test_who_asks_for_many_checks_hears_so_at_once_and_others_do_not_wait_for_them",
        ),
    ),
    Mutant(
        "logins of one address come before those of others",
        "relay/smtp/turns.py",
        "                self._lines[who] = line  # behind everybody else\n",
        "                self._lines[who] = line\n                self._lines.move_to_end(who, last=False)\n",
        (under_load("test_one_address_does_not_make_everybody_wait"),),
    ),
    Mutant(
        "any number of hashes at once",
        "relay/smtp/turns.py",
        "            self._free -= 1\n",
        "",
        (
            "tests/smtp/test_turns.py::test_whoever_gives_up_all_others_have_their_turn_and_never_too_many",
            "tests/smtp/test_auth.py::test_who_goes_away_frees_no_place_and_is_counted",
        ),
    ),
    Mutant(
        "a turn is lost with who gives up",
        "relay/smtp/turns.py",
        "            if not turn.cancelled():  # it had come already\n                self._pass_on()\n",
        "",
        ("tests/smtp/test_turns.py::test_a_turn_that_comes_to_somebody_who_gives_up_at_that_moment_goes_to_the_next",),
    ),
    Mutant(
        "the check of a login ends with its client",
        "relay/smtp/auth.py",
        "return await asyncio.shield(task)",
        "return await task",
        ("tests/smtp/test_auth.py::test_who_goes_away_frees_no_place_and_is_counted",),
    ),
    Mutant(
        "what came of a login is not logged when its client has gone",
        "relay/smtp/session.py",
        "await asyncio.shield(self._host.see_through(self._refusal_of(login)))",
        "await self._refusal_of(login)",
        (under_load("test_who_resets_the_connection_is_logged_counted_and_frees_no_place"),),
    ),
    Mutant(
        "guesses under way are not counted",
        "relay/smtp/auth.py",
        " + record.under_way >= FAILURES_MOST:",
        " >= FAILURES_MOST:",
        (
            "tests/smtp/test_auth.py::test_guesses_under_way_are_counted_as_if_they_had_failed",
            under_load("test_no_more_guesses_are_answered_at_the_same_time_than_one_after_the_other"),
        ),
    ),
    Mutant(
        "each IPv6 address guesses for itself",
        "relay/smtp/guesses.py",
        "_IPV6_PREFIX = 64\n",
        "_IPV6_PREFIX = 128\n",
        (under_load("test_an_ipv6_client_cannot_guess_from_each_of_its_addresses"),),
    ),
    Mutant(
        "a closed address locks out who was right there",
        "relay/smtp/auth.py",
        "known = here == attempt.mark and record",
        "known = False and record",
        (under_load("test_who_was_right_there_still_gets_in_where_others_guess"),),
    ),
    Mutant(
        "a closed address lets in who was right elsewhere",
        "relay/smtp/auth.py",
        "known = here == attempt.mark and record",
        "known = self._remembered.has(attempt.mark, now) and record",
        ("tests/smtp/test_auth.py::test_a_closed_address_still_lets_in_who_was_right_there",),
    ),
    Mutant(
        "a closed address answers any number of guesses at what is remembered",
        "relay/smtp/auth.py",
        " and record.looks.count(now) < LOOKS_MOST",
        "",
        ("tests/smtp/test_auth.py::test_a_closed_address_answers_few_guesses_at_what_is_remembered", LOGIN_HISTORIES),
    ),
    Mutant(
        "the same wrong login is checked each time",
        "relay/smtp/auth.py",
        "        if record.wrong.has(attempt.mark, self._clock.now()):\n",
        "        if False:\n",
        ("tests/smtp/test_auth.py::test_the_same_wrong_login_counts_once_and_costs_one_hash",),
    ),
    Mutant(
        "what a closed address asks for costs its session nothing",
        "relay/smtp/session.py",
        "            self._logins_left -= isinstance(trouble, TooManyLogins)",
        "            pass",
        (under_load("test_what_a_closed_address_asks_for_counts_against_its_session"),),
    ),
    Mutant(
        "AUTH offered in clear where TLS is required",
        "relay/smtp/door.py",
        "        if tls or self.require_tls:\n",
        "        if tls:\n",
        ("tests/smtp/test_tls_and_auth.py::test_where_tls_is_required_auth_is_offered_after_it_only",),
    ),
    Mutant(
        "AUTH is no longer than other commands",
        "relay/smtp/protocol.py",
        "return AUTH_LINE_BYTES if ",
        "return _COMMAND_BYTES if ",
        ("tests/smtp/test_tls_and_auth.py::test_a_long_response_is_taken_up_to_12288_octets",),
    ),
    Mutant(
        "a good login from a wrong place is told that its host is no client",
        "relay/smtp/handler.py",
        "replies.NOT_A_CLIENT if self.client.user is None else replies.USER_NOT_FROM_HERE",
        "replies.NOT_A_CLIENT",
        ("tests/smtp/test_tls_and_auth.py::test_a_good_login_from_a_wrong_place_hears_that_the_login_is_good",),
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
        "blanks before the colon stay",
        "relay/policy/fields.py",
        "        if name == rest:\n",
        "        if True:\n",
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

# What the operator reads

LOGGED = (
    Mutant(
        "strangers write on the console as they like",
        "relay/observe/log_output.py",
        "rendering = [_printable, plain]",
        "rendering = [plain]",
        ("tests/observe/test_log_output.py::test_what_does_not_print_is_escaped_on_the_console",),
    ),
    Mutant(
        "tracebacks come on the console as they are",
        "relay/observe/log_output.py",
        "            structlog.processors.format_exc_info,\n",
        '            *([structlog.processors.format_exc_info] if form == "json" else []),\n',
        ("tests/observe/test_log_output.py::test_a_traceback_has_its_lines_and_no_escapes",),
    ),
    Mutant(
        "malformed addresses are not masked",
        "relay/observe/log.py",
        "mask_command(command) if self._masked else command",
        "self._hide(command)",
        ("tests/observe/test_log.py::test_masked_means_everything_that_is_said_of_a_session",),
    ),
    Mutant(
        "parameters of commands are not masked",
        "relay/observe/masking.py",
        "word if _HARMLESS.fullmatch(word) else _MASK for",
        "word for",
        ("tests/observe/test_masking.py::test_a_command_keeps_its_domain_and_a_malformed_one_its_verb",),
    ),
    Mutant(
        "a Message-ID of any length is logged",
        "relay/policy/headers.py",
        "[:_MESSAGE_ID_LOGGED]",
        "",
        ("tests/observe/test_log.py::test_a_message_id_of_any_length_makes_no_line_of_any_length",),
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
        "a reload believes in a spool that is not there",
        "relay/app.py",
        "        settings, waiting = until_restart(settings, self.settings)\n",
        "        _, waiting = until_restart(settings, self.settings)\n",
        (RELOAD_SPOOL,),
    ),
    Mutant(
        "reload forgets the rules",
        "relay/app.py",
        "self._intake.change(book, courier)",
        "self._intake.change(self._intake.book, courier)",
        (RELOAD,),
    ),
)

# The queue: what was accepted is never lost, nor sent twice

QUEUE = (
    Mutant(
        "250 before the commit",
        "relay/delivery/acceptance.py",
        "            await self._queue.spool.put(Posting(mail, parts))\n",
        "            asyncio.ensure_future(self._queue.spool.put(Posting(mail, parts)))\n",
        ("tests/delivery/test_acceptance.py::test_250_comes_after_the_commit_and_never_before",),
    ),
    Mutant(
        "250 queued although the disk has failed",
        "relay/delivery/acceptance.py",
        "            return await self._without_spool(parcels, attempts, trouble)\n",
        "            return Taken(replies.queued(mail.id), queued=True)\n",
        ("tests/delivery/test_acceptance.py::test_what_neither_ses_nor_the_disk_takes_stays_with_the_client",),
    ),
    Mutant(
        "5yz on ENOSPC",
        "relay/replies.py",
        'SPOOL_FULL = Reply(452, "4.3.1",',
        'SPOOL_FULL = Reply(552, "5.3.1",',
        (
            "tests/delivery/test_acceptance.py::test_a_spool_that_is_not_well_is_told_at_mail",
            "tests/delivery/test_acceptance.py::test_a_disk_that_fails_at_the_last_moment_is_told_after_the_message",
        ),
    ),
    Mutant(
        "an attempt that outlives the hold is not leased",
        "relay/delivery/acceptance.py",
        "Posting(mail, parts, leased=until)",
        "Posting(mail, parts)",
        ("tests/delivery/test_queue_conservation.py",),
    ),
    Mutant(
        "what goes on after the answer is never concluded",
        "relay/delivery/acceptance.py",
        "                hand_on(self._conclude(lease, parcel, attempt, identity))\n",
        "                self._conclude(lease, parcel, attempt, identity).close()\n",
        ("tests/delivery/test_acceptance.py::test_whatever_comes_of_its_parcels",),
    ),
    Mutant(
        "5yz although some of it was delivered",
        "relay/delivery/acceptance.py",
        "if isinstance(first, Failed) and all(map(_is_final, parcels, outcomes)):",
        "if isinstance(first, Failed):",
        ("tests/delivery/test_acceptance.py::test_whatever_comes_of_its_parcels",),
    ),
    Mutant(
        "lease never expiring",
        "relay/spool/ledger.py",
        "WHERE state = 'queued' AND lane = ? AND due <= ?\n            ORDER BY",
        "WHERE state = 'queued' AND lane = ? AND due <= ? AND ticket = 0\n            ORDER BY",
        ("tests/delivery/test_leases.py::test_a_claim_of_what_is_in_hand_brings_its_newer_ticket",),
    ),
    Mutant(
        "lease not renewed",
        "relay/delivery/leases.py",
        "        await asyncio.gather(*(self._renew(lease, now + LEASE_S) for lease in ending))\n",
        "",
        ("tests/delivery/test_leases.py::test_what_takes_long_is_renewed_and_nobody_else_claims_it",),
    ),
    Mutant(
        "what is in hand is worked on twice",
        "relay/delivery/leases.py",
        "            held.parcel, held.until = parcel, until\n            return None\n",
        "            held.parcel, held.until = parcel, until\n",
        ("tests/delivery/test_queue_runner_trouble.py::test_a_clock_that_is_set_forward_sends_nothing_twice",),
    ),
    Mutant(
        "a newer ticket is thrown away",
        "relay/delivery/leases.py",
        "            held.parcel, held.until = parcel, until\n",
        "",
        ("tests/delivery/test_queue_conservation.py",),
    ),
    Mutant(
        "an older ticket voids what was decided",
        "relay/delivery/settlement.py",
        "                if done or lease.parcel is parcel:\n",
        "                if True:\n",
        ("tests/delivery/test_settlement.py::test_what_was_claimed_again_meanwhile_is_settled_with_its_newer_ticket",),
    ),
    Mutant(
        "a decision is forgotten when the disk fails",
        "relay/delivery/settlement.py",
        "                if self.ending:\n",
        "                if True:\n",
        ("tests/delivery/test_settlement.py::test_a_decision_is_written_as_soon_as_the_disk_takes_it",),
    ),
    Mutant(
        "bounce of a bounce",
        "relay/policy/bounces.py",
        "    if not recipients or unanswerable(report, letterhead):\n",
        "    if not recipients or not report.sender:\n",
        ("tests/delivery/test_settlement.py::test_mail_from_nobody_or_from_ourselves_is_never_bounced",),
    ),
    Mutant(
        "notice not in the same step",
        "relay/delivery/settlement.py",
        "done = await self._written(lease, lambda leased: self._spool.settle(leased, dead=verdict, notices=letters))",
        "done = await self._written(lease, lambda leased: self._spool.settle(leased, dead=verdict))\n"
        "        for letter in letters:\n"
        "            await self._spool.put(letter)",
        (f"{SETTLEMENT}::test_neither_the_dead_letter_is_without_its_bounce_nor_the_other_way_round",),
    ),
    Mutant(
        "NOTIFY=NEVER ignored",
        "relay/policy/bounces.py",
        "tuple(one for one in report.recipients if one not in report.silent)",
        "report.recipients",
        ("tests/delivery/test_settlement.py::test_who_asked_for_silence_is_in_no_bounce",),
    ),
    Mutant(
        "lost parcel after a split",
        "relay/spool/ledger.py",
        "        for position, part in enumerate(others, made + 1):\n",
        "        for position, part in enumerate(others[1:], made + 1):\n",
        (
            "tests/delivery/test_settlement.py::test_a_bad_recipient_has_each_of_them_wait_by_itself",
            "tests/delivery/test_queue_conservation.py",
        ),
    ),
    Mutant(
        "one bad recipient sinks the others",
        "relay/delivery/acceptance.py",
        "    return len(parcel.recipients) == 1 or not refuses_recipients(outcome, parcel.sender, parcel.recipients)\n",
        "    return True\n",
        ("tests/delivery/test_acceptance.py::test_whatever_comes_of_its_parcels",),
    ),
    Mutant(
        "hold ignored",
        "relay/delivery/holds.py",
        "return max((hold.suspension.opens_at for hold in self._of(lane) if hold.is_held), default=-inf)",
        "return -inf",
        ("tests/delivery/test_lines.py::test_a_refused_identity_is_held_and_the_others_go_on",),
    ),
    Mutant(
        "a probe that says nothing is waited for for ever",
        "relay/delivery/queue_runner.py",
        "            self._holds.unknown(flight.origin, flight.parcel)\n",
        "            pass\n",
        ("tests/delivery/test_queue_runner_holds.py::test_a_probe_that_an_operator_takes_away_lets_another_ask",),
    ),
    Mutant(
        "places at the gate leak",
        "relay/delivery/lines.py",
        "            self._at_gate[flight.way] -= 1\n",
        "            pass\n",
        ("tests/delivery/test_lines.py::test_who_has_come_through_makes_room_for_one_and_only_one",),
    ),
    Mutant(
        "places in line leak",
        "relay/delivery/claims.py",
        "        self._ahead[lane] -= 1\n",
        "",
        ("tests/delivery/test_queue_runner.py::test_what_is_due_goes_the_oldest_first",),
    ),
    Mutant(
        "room in memory leaks",
        "relay/delivery/memory_room.py",
        "        self._room.release(self._size)\n",
        "",
        ("tests/delivery/test_memory_room.py",),
    ),
    Mutant(
        "a long queue keeps others from going",
        "relay/delivery/lines.py",
        "                    self._lines[name] = line  # behind the others\n",
        "                    self._lines = {name: line, **self._lines}\n",
        ("tests/delivery/test_lines.py::test_identities_take_turns_and_within_one_the_oldest_goes_first",),
    ),
    Mutant(
        "sent by the rules of yesterday",
        "relay/delivery/queue_runner.py",
        "        if self._is_rerouted(flight):\n",
        "        if False:\n",
        ("tests/delivery/test_queue_runner.py::test_what_waits_in_line_goes_under_the_rules_of_the_moment",),
    ),
    Mutant(
        "sent although an operator has taken it away",
        "relay/delivery/queue_runner.py",
        "if self._holds.is_off(flight.origin, flight.parcel) or await self._was_taken_away(spooled):",
        "if self._holds.is_off(flight.origin, flight.parcel):",
        ("tests/delivery/test_queue_runner_trouble.py::test_what_an_operator_takes_away_while_it_waits_is_not_sent",),
    ),
    Mutant(
        "an outage burns attempts",
        "relay/policy/retrying.py",
        "counts = not held and outcome.cause not in _NOT_ITS_FAULT",
        "counts = True",
        ("tests/policy/test_retrying.py::test_what_is_not_its_fault_costs_no_attempt_and_it_comes_back_soon",),
    ),
    Mutant(
        "a third lost answer is tried again",
        "relay/policy/retrying.py",
        "lost >= LOST_MOST or",
        "lost > LOST_MOST or",
        ("tests/policy/test_retrying.py::test_a_lost_answer_waits_ten_minutes_then_an_hour_and_the_third_is_the_last",),
    ),
    Mutant(
        "sandbox recipients by SMTP taken for the identity",
        "relay/policy/retrying.py",
        r"(?: \([a-z]+\))?$",
        "$",
        ("tests/policy/test_retrying.py::test_sandbox_recipients_are_known_by_their_names",),
    ),
    Mutant(
        "a clock that is set back is not noticed",
        "relay/delivery/spool_watch.py",
        "        if offset < self._offset - JUMP_S:\n",
        "        if False:\n",
        ("tests/delivery/test_spool_watch.py::test_a_clock_that_is_set_back_delays_nothing",),
    ),
    Mutant(
        "what waits for the disk keeps it from being mended",
        "relay/delivery/spool_watch.py",
        "        await self._see_how_it_stands()\n        now = self._clock.now()\n",
        "        await self._see_how_it_stands()\n        await self._upkeep()\n        now = self._clock.now()\n",
        ("tests/delivery/test_spool_watch.py::test_what_waits_for_the_disk_does_not_keep_the_file_from_being_mended",),
    ),
    Mutant(
        "the end waits for a disk that fails",
        "relay/delivery/acceptance.py",
        "outcome, self._queue.settlement.ending = STOPPED, True",
        "outcome = STOPPED",
        ("tests/delivery/test_acceptance.py::test_the_end_does_not_wait_for_a_disk_that_fails",),
    ),
)

# What SES refuses is held, and nobody else's mail

HOLDS = (
    Mutant(
        "a large message holds its sender",
        "relay/delivery/holds.py",
        '    return parcel.id.partition(".")[0]\n',
        "    return parcel.id\n",
        ("tests/delivery/test_holds.py::test_the_parcels_of_a_large_message_are_one_message",),
    ),
    Mutant(
        "one client holds the identity",
        "relay/delivery/holds.py",
        "what = _mail_of(parcel) if word == lane else lane",
        "what = _mail_of(parcel)",
        (
            "tests/delivery/test_holds.py::test_one_pair_holds_no_identity_however_many_messages_it_has",
            f"{RUNNER_HOLDS}::test_a_backlog_that_is_refused_waits_in_a_lane_of_its_own_and_the_others_go",
        ),
    ),
    Mutant(
        "who is refused for itself holds the identity again and again",
        "relay/delivery/holds.py",
        "if word != lane and not before and self._is_refused_for_itself(lane):",
        "if False:",
        (
            "tests/delivery/test_holds.py::test_who_is_refused_while_others_get_through_never_holds_them",
            f"{RUNNER_HOLDS}::test_mail_that_ses_takes_gets_its_turn_to_ask_however_much_other_is_older",
        ),
    ),
    Mutant(
        "released although it was not held",
        "relay/delivery/holds.py",
        "if self.is_held_itself(word)]",
        "if self.is_held(word)]",
        ("tests/delivery/test_holds.py::test_a_message_of_another_pair_releases_the_identity_and_not_the_pair",),
    ),
    Mutant(
        "endless senders take endless room",
        "relay/delivery/holds.py",
        "        while len(self._holds) > MOST:\n",
        "        while False:\n",
        (ENDLESS_SENDERS,),
    ),
    Mutant(
        "who is refused all the time is forgotten first",
        "relay/delivery/holds.py",
        "hold = self._holds.pop(word) if word in self._holds else",
        "hold = self._holds[word] if word in self._holds else",
        (ENDLESS_SENDERS,),
    ),
    Mutant(
        "the oldest message asks for the identity again and again",
        "relay/delivery/lines.py",
        "return min(may_go, key=lambda flight: self._holds.refused_at(flight.origin), default=None)",
        "return next(may_go, None)",
        ("tests/delivery/test_lines.py::test_who_was_refused_asks_after_those_that_were_not",),
    ),
    Mutant(
        "who is held keeps those behind it from going",
        "relay/delivery/lines.py",
        "for flight in line if self._holds.opens_at(flight.origin) <= now)",
        "for flight in [line[0]] if self._holds.opens_at(flight.origin) <= now)",
        ("tests/delivery/test_lines.py::test_who_is_held_keeps_nobody_behind_it_from_going",),
    ),
    Mutant(
        "refused mail keeps what would be taken from asking",
        "relay/delivery/holds.py",
        "return self.is_held_itself(lane) or (lane in self._holds and self.is_held(lane))",
        "return self.is_held_itself(lane)",
        (f"{RUNNER_HOLDS}::test_mail_that_ses_takes_gets_its_turn_to_ask_however_much_other_is_older",),
    ),
    Mutant(
        "what is held is not sorted",
        "relay/delivery/claims.py",
        "return lane == identity_of(lane) or self._holds.opens_at(lane) <= steady",
        "return self._holds.opens_at(lane) <= steady",
        (f"{RUNNER_HOLDS}::test_mail_that_ses_takes_gets_its_turn_to_ask_however_much_other_is_older",),
    ),
    Mutant(
        "held mail stays where it is",
        "relay/delivery/queue_runner.py",
        "        return flight.origin if self._holds.waits_apart(flight.origin) else flight.identity.name\n",
        "        return flight.identity.name\n",
        (f"{RUNNER_HOLDS}::test_a_backlog_that_is_refused_waits_in_a_lane_of_its_own_and_the_others_go",),
    ),
    Mutant(
        "held mail never comes back",
        "relay/delivery/queue_runner.py",
        "        return flight.origin if self._holds.waits_apart(flight.origin) else flight.identity.name\n",
        "        return flight.origin if self._holds.waits_apart(flight.origin) else flight.lane\n",
        (f"{RUNNER_HOLDS}::test_what_was_held_and_then_waits_for_another_reason_is_back_in_its_identitys_lane",),
    ),
    Mutant(
        "what is held stays in line",
        "relay/delivery/queue_runner.py",
        "                for flight in self._lines.take_out(lane):\n",
        "                for flight in ():\n",
        (RUNNER_HOLDS,),
    ),
    Mutant(
        "what waits at the gate goes although it is held",
        "relay/delivery/queue_runner.py",
        "if self._holds.is_off(flight.origin, flight.parcel) or await self._was_taken_away(spooled):",
        "if await self._was_taken_away(spooled):",
        (RUNNER_HOLDS,),
    ),
    Mutant(
        "many that are held slow down those that are not",
        "relay/delivery/claims.py",
        "if lane.due <= now and self._may_be_claimed(lane.name, steady)]",
        "if lane.due <= now]",
        (RUNNER_HOLDS,),
    ),
    Mutant(
        "a reload releases nobody",
        "relay/delivery/queue_runner.py",
        "for lane in self._holds.clear():",
        "for lane in ():",
        (f"{RUNNER_HOLDS}::test_a_reload_lets_all_ask_at_once",),
    ),
    Mutant(
        "what clients bring holds nobody",
        "relay/delivery/acceptance.py",
        "        self._queue.heard(parcel, outcome, lease.parcel.client.name, lease.parcel.envelope.sender)\n",
        "",
        ("tests/delivery/test_acceptance.py::test_the_queue_hears_whose_mail_ses_takes_and_whose_it_refuses",),
    ),
    Mutant(
        "the postmaster is told of every refusal",
        "relay/delivery/settlement.py",
        "if self.terms.letterhead is None or now - self._told_of.get(identity, -inf) < TELL_AGAIN_S:",
        "if self.terms.letterhead is None:",
        (f"{SETTLEMENT}::test_the_postmaster_hears_of_a_refused_identity_at_once_but_not_every_time",),
    ),
    Mutant(
        "held mail is not found by its identity",
        "relay/spool/reading.py",
        '"(p.lane = :lane OR substr(p.lane, 1, length(:lane) + 1) = :lane || char(31))"',
        '"p.lane = :lane"',
        ("tests/spool/test_spool.py::test_a_lane_is_found_with_those_below_it_and_no_others",),
    ),
    Mutant(
        "an ill disk is written to all the time",
        "relay/delivery/spool_watch.py",
        "        if self._clock.now() < self._mend_at:\n",
        "        if False:\n",
        ("tests/delivery/test_spool_watch.py::test_a_file_that_cannot_be_replaced_is_copied_ever_more_seldom",),
    ),
    Mutant(
        "a disk that fails again and again is copied all the time",
        "relay/delivery/spool_watch.py",
        "        if self._clock.now() - self._distrusted_at > CALM_S:\n",
        "        if True:\n",
        (f"{WATCH}::test_a_file_that_is_mended_and_ill_again_in_a_moment_is_copied_ever_more_seldom",),
    ),
    Mutant(
        "changed bytes are sent",
        "relay/spool/contents.py",
        "    _check(found, size, expected)\n",
        "",
        ("tests/spool/test_spool_contents.py::test_changed_bytes_are_never_handed_out",),
    ),
    Mutant(
        "the log has no room before it needs it",
        "relay/spool/reserve.py",
        "            self._take_log()\n",
        "",
        (f"{RESERVE}::test_the_log_keeps_its_length_while_the_relay_runs",),
    ),
    Mutant(
        "a full disk stops deliveries",
        "relay/spool/reserve.py",
        "self._ahead = self._ahead or self._is_to_spare(2 * AHEAD)",
        "self._ahead = False",
        (f"{RESERVE}::test_a_full_disk_stops_no_delivery",),
    ),
    Mutant(
        "a queue command cuts the log",
        "relay/spool/sqlite.py",
        "fold=self._lock is not None",
        "fold=True",
        (f"{RESERVE}::test_a_queue_command_leaves_the_log_its_length",),
    ),
    Mutant(
        "a queue command that folds the log is trouble",
        "relay/spool/writer.py",
        "        except apsw.BusyError:\n",
        "        except apsw.FullError:\n",
        (f"{RESERVE}::test_whoever_else_folds_the_log_is_no_trouble",),
    ),
    Mutant(
        "bounces take the last room from deliveries",
        "relay/spool/reserve.py",
        "< _FLOOR_PAGES:\n",
        "< 0:\n",
        (f"{RESERVE}::test_the_last_room_is_kept_for_deliveries",),
    ),
    Mutant(
        "what waits for SES to be well again waits for hours",
        "relay/policy/retrying.py",
        "(min(wait, UNWELL_S) if outcome.cause in _UNWELL else wait)",
        "wait",
        ("tests/policy/test_retrying.py::test_when_ses_is_unwell_nothing_waits_for_long",),
    ),
    Mutant(
        "an SES that answers 503 to all is not left alone",
        "relay/delivery/conditions.py",
        "Cause.CREDENTIALS, Cause.UNAVAILABLE, ",
        "Cause.CREDENTIALS, ",
        (f"{PACE}::TestOutage::test_an_outage_costs_a_few_attempts_and_no_holds",),
    ),
    Mutant(
        "who is not tried after lost answers hears that his was lost",
        "relay/delivery/conditions.py",
        "if outcome.cause is Cause.LOST_ANSWER:",
        "if outcome.cause is Cause.NOT_SES:",
        (f"{PACE}::TestOutage::test_after_lost_answers_others_hear_that_theirs_were_not_even_tried",),
    ),
    Mutant(
        "whoever's messages fail goes on asking for all",
        "relay/delivery/pace.py",
        "if others_first and self.conditions.asked_last(waiter.parcel):",
        "if False:",
        (f"{PACE}::TestOutage::test_a_sender_whose_messages_all_fail_lets_others_ask_first",),
    ),
    Mutant(
        "a retry waits for the next probe",
        "relay/delivery/claims.py",
        "if at != self._retried.get(lane):",
        "if False:",
        (f"{RUNNER_HOLDS}::test_a_retry_lets_held_mail_ask_at_once_and_all_of_it_go_when_ses_takes_it",),
    ),
    Mutant(
        "a retry hears nothing of senders below its lane",
        "relay/delivery/holds.py",
        "if is_below(word, lane) or word in words_of(lane):",
        "if word in words_of(lane):",
        (f"{RUNNER_HOLDS}::test_a_retry_of_what_was_refused_before_its_sender_was_held_lets_that_sender_ask",),
    ),
    Mutant(
        "what was refused waits although SES takes it again",
        "relay/delivery/queue_runner.py",
        "                    self._start(self._recall(identity_of(lane)))\n",
        "                    self.wake()\n",
        (f"{RUNNER_HOLDS}::test_when_ses_takes_it_again_what_was_refused_goes_before_what_came_later",),
    ),
    Mutant(
        "nobody hears of a message that is damaged",
        "relay/delivery/queue_runner.py",
        "if is_damaged and not self._ending:",
        "if False:",
        (f"{RUNNER_TROUBLE}::test_a_message_that_is_damaged_is_told_once_and_sent_when_it_is_put_back",),
    ),
    Mutant(
        "a changed envelope is sent",
        "relay/spool/rows.py",
        "parcel_sealed is not None and",
        "parcel_sealed is None and",
        ("tests/spool/test_spool_seals.py",),
    ),
    Mutant(
        "a retry sends at once what SES may have",
        "relay/spool/ledger.py",
        "iif(lost > 0, max(:now, ifnull({ANSWERED_AT}, 0) + :apart), :now)",
        "iif({ANSWERED_AT} > :apart, :now, :now)",
        ("tests/spool/test_spool.py::test_a_retry_is_due_at_once_but_ten_minutes_after_an_answer_that_was_lost",),
    ),
    Mutant(
        "the limit of a service is not seen",
        "relay/memory.py",
        "for folder in (here, *here.parents)",
        "for folder in (trees / tree,)",
        ("tests/test_memory.py::test_a_service_has_its_own_limit_and_that_of_its_slice",),
    ),
    Mutant(
        "a letter that was not kept is in the log",
        "relay/delivery/settlement.py",
        "self._tell_log(notes if done else ())\n        return done\n\n    async def _rescheduled",
        "self._tell_log(notes)\n        return done\n\n    async def _rescheduled",
        (f"{SETTLEMENT}::test_a_bounce_of_what_somebody_has_dropped_is_neither_written_nor_logged",),
    ),
)

DAMAGE = (
    Mutant(
        "mail behind damage in the log is lost",
        "relay/spool/log_repair.py",
        "return kept if broken or ends[1:] else []",
        "return kept if broken else []",
        (f"{LOG_REPAIR}::test_what_follows_the_damage_in_a_log_is_read",),
    ),
    Mutant(
        "a power cut looks like damage",
        "relay/spool/log_repair.py",
        "return kept if broken or ends[1:] else []",
        "return kept if broken or ends else []",
        (f"{LOG_REPAIR}::test_what_a_power_cut_leaves_is_no_damage",),
    ),
    Mutant(
        "a torn commit behind damage is believed",
        "relay/spool/log_repair.py",
        "ends[-1] + 1 if all(whole) and dense else begin",
        "ends[-1] + 1",
        (f"{LOG_REPAIR}::test_a_torn_end_behind_damage_stays_out",),
    ),
    Mutant(
        "a log that was removed is not missed",
        "relay/spool/opening.py",
        "log_gone=not log.exists() and _has_log(path)",
        "log_gone=False",
        (f"{LOG_REPAIR}::test_a_log_that_was_removed_is_told_and_contents_are_put_aside",),
    ),
    Mutant(
        "a log that is removed from under the relay is not missed",
        "relay/spool/sqlite.py",
        'for name in (str(path), f"{path}-wal")',
        "for name in (str(path),)",
        ("tests/spool/test_spool_mend.py::test_a_log_that_is_removed_while_it_is_open_is_noticed",),
    ),
    Mutant(
        "a lock file that is removed lets a second relay in",
        "relay/spool/opening.py",
        "        lock.hold(bodies.folder)\n",
        "",
        ("tests/spool/test_spool_opening.py::test_a_second_relay_is_told_although_the_lock_file_was_removed",),
    ),
    Mutant(
        "contents whose row was restored away are removed",
        "relay/spool/bodies.py",
        "if present[name] > now - KEPT_S and",
        "if False and",
        ("tests/spool/test_spool_opening.py::test_files_that_no_mail_needs_are_removed_and_missing_ones_named",),
    ),
)

MUTANTS = (*DIALOGUE, *ADMISSION, *LOGINS, *LIMITS, *HEADERS, *LOGGED, *OUTCOMES, *QUEUE, *HOLDS, *DAMAGE)
