"""What becomes of a spooled parcel: by every outcome and history, when it is tried again, and when it is given up."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import inf

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from relay.model import Cause, Deferred, Delivered, Failed, Outcome, Reply
from relay.policy.bounces import Fate
from relay.policy.outcomes import Stage, from_api, from_smtp
from relay.policy.retrying import (
    CONFIGURATION,
    LOST_APART_S,
    LOST_MOST,
    LOST_WAITS_S,
    UNWELL_S,
    Again,
    GiveUp,
    History,
    Schedule,
    decide,
    is_late,
    refuses_identity,
    refuses_recipients,
)

NO, NOT_NOW = Reply(554, "5.0.0", "no"), Reply(451, "4.0.0", "not now")
SCHEDULE = Schedule((60.0, 300.0, 3600.0), 432_000.0)
ANN, BOB, SHOP = "ann@c.example", "bob@c.example", "shop@example.com"
FIRST = History(since=0.0, sender=SHOP, recipients=(ANN,), attempts=1)
MIDDLE = 0.5
SANDBOX = "Email address is not verified. The following identities failed the check in region US-EAST-1: "

BLAMELESS = {Cause.THROTTLED, Cause.QUOTA, Cause.NETWORK, Cause.TLS, *CONFIGURATION}
OF_THE_MESSAGE = set(Cause) - CONFIGURATION

causes = st.sampled_from(Cause)
deferred = st.builds(Deferred, st.just(NOT_NOW), causes, st.just("words"), st.booleans())
failed = st.builds(Failed, st.just(NO), causes, st.just("words"))
outcomes: st.SearchStrategy[Outcome] = st.one_of(deferred, failed, st.just(Delivered("id")))
schedules = st.builds(
    Schedule, st.lists(st.floats(1, 7200), min_size=1, max_size=6).map(tuple), st.floats(600, 1_000_000)
)
people = st.lists(st.sampled_from([ANN, BOB, "cy@c.example"]), min_size=1, unique=True).map(tuple)
histories = st.builds(
    History, since=st.floats(0, 1e6), sender=st.sampled_from(["", SHOP]), recipients=people,
    attempts=st.integers(1, 50), lost=st.integers(0, LOST_MOST - 1),
)  # fmt: skip
ages = st.floats(0, 2_000_000)
chances = st.floats(0, 1)


def not_now(cause: Cause, *, tried: bool = True) -> Deferred:
    return Deferred(NOT_NOW, cause, "words", tried)


def no(cause: Cause) -> Failed:
    return Failed(NO, cause, "words")


def again(history: History, outcome: Outcome, now: float = 0.0, chance: float = MIDDLE) -> Again:
    step = decide(history, outcome, now, SCHEDULE, chance)
    assert isinstance(step, Again), step
    return step


def test_what_ses_has_taken_is_gone() -> None:
    assert decide(FIRST, Delivered("id"), 1e9, SCHEDULE, MIDDLE) is None


@pytest.mark.parametrize(("attempts", "wait"), [(1, 60), (2, 300), (3, 3600), (4, 3600), (99, 3600)])
def test_the_schedule_is_followed_and_its_last_wait_repeats(attempts: int, wait: float) -> None:
    step = again(replace(FIRST, attempts=attempts), not_now(Cause.OTHER), now=10.0)

    assert (step.due, step.attempts, step.lost, step.split) == (10.0 + wait, attempts, 0, False)


@pytest.mark.parametrize("cause", [Cause.UNAVAILABLE, Cause.NOT_SES])
@pytest.mark.parametrize(("attempts", "wait"), [(1, 60), (2, UNWELL_S), (3, UNWELL_S), (99, UNWELL_S)])
def test_when_ses_is_unwell_nothing_waits_for_long(attempts: int, wait: float, cause: Cause) -> None:
    """It may be an outage, at the end of which hours would be lost; or this message's own, so that it counts."""
    step = again(replace(FIRST, attempts=attempts), not_now(cause), now=10.0)

    assert (step.due, step.attempts) == (10.0 + wait, attempts)


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_waits_are_spread_by_a_fifth(chance: float, share: float) -> None:
    assert again(FIRST, not_now(Cause.UNAVAILABLE), chance=chance).due == pytest.approx(60 * share)


@pytest.mark.parametrize("cause", sorted(BLAMELESS))
def test_what_is_not_its_fault_costs_no_attempt_and_it_comes_back_soon(cause: Cause) -> None:
    """An outage of hours leaves the parcel where it was in its schedule."""
    step = again(replace(FIRST, attempts=3), not_now(cause))

    assert step.attempts == 2
    assert step.due <= 300


@pytest.mark.parametrize("cause", sorted(set(Cause) - BLAMELESS - {Cause.LOST_ANSWER}))
def test_everything_else_counts(cause: Cause) -> None:
    assert again(replace(FIRST, attempts=3), not_now(cause)).attempts == 3


@pytest.mark.parametrize("cause", sorted(CONFIGURATION))
def test_an_identity_that_is_refused_even_for_good_is_asked_for_again_and_again(cause: Cause) -> None:
    """The owner can mend it: its mail waits, at the pace of the probes."""
    step = again(FIRST, no(cause))

    assert (step.due, step.attempts) == (300, 0)


@pytest.mark.parametrize("cause", sorted(OF_THE_MESSAGE))
def test_a_message_that_is_refused_for_good_is_given_up_at_once(cause: Cause) -> None:
    assert decide(FIRST, no(cause), 1.0, SCHEDULE, MIDDLE) == GiveUp(Fate.FAILED)


def test_a_message_that_may_have_been_delivered_before_it_was_refused_dies_uncertain() -> None:
    """Nobody may be told that it was not delivered."""
    assert decide(replace(FIRST, lost=1), no(Cause.CONTENT), 1.0, SCHEDULE, MIDDLE) == GiveUp(Fate.UNCERTAIN)


def test_a_lost_answer_waits_ten_minutes_then_an_hour_and_the_third_is_the_last() -> None:
    lost, history, now = not_now(Cause.LOST_ANSWER), FIRST, 0.0
    for number, wait in ((1, LOST_APART_S), (2, 3600)):
        step = again(history, lost, now, chance=0.0)
        assert (step.due, step.lost) == (now + wait, number)
        history, now = replace(history, lost=step.lost, attempts=step.attempts + 1), step.due

    assert decide(history, lost, now, SCHEDULE, MIDDLE) == GiveUp(Fate.UNCERTAIN)


def test_after_its_lifetime_an_attempt_that_fails_is_the_last() -> None:
    ends = SCHEDULE.lifetime

    assert decide(FIRST, not_now(Cause.NETWORK), ends, SCHEDULE, MIDDLE) == GiveUp(Fate.EXPIRED)
    assert decide(replace(FIRST, lost=1), not_now(Cause.NETWORK), ends, SCHEDULE, MIDDLE) == GiveUp(Fate.UNCERTAIN)
    assert decide(FIRST, no(Cause.IDENTITY), ends, SCHEDULE, MIDDLE) == GiveUp(Fate.EXPIRED)


def test_the_last_attempt_comes_when_its_lifetime_ends() -> None:
    """Not up to an hour later, when nobody waits for it any more."""
    step = again(replace(FIRST, attempts=9), not_now(Cause.UNAVAILABLE), now=SCHEDULE.lifetime - 10)

    assert step.due == SCHEDULE.lifetime


def test_after_a_lost_answer_ten_minutes_pass_even_at_the_end_of_its_lifetime() -> None:
    """Once more at the end would be sooner than SES may have sent it."""
    step = again(FIRST, not_now(Cause.LOST_ANSWER), now=SCHEDULE.lifetime - 1)

    assert step.due == SCHEDULE.lifetime - 1 + LOST_APART_S


@pytest.mark.parametrize("now", [100.0, 1e9])
def test_what_never_had_its_turn_keeps_its_place(now: float) -> None:
    """It goes before all that came later, costs no attempt, and is not given up for it, however late it is."""
    step = again(replace(FIRST, since=50.0, attempts=4), not_now(Cause.PACE, tried=False), now=now)

    assert (step.due, step.attempts) == (50.0, 3)


def test_one_bad_recipient_of_several_has_each_sent_by_itself() -> None:
    step = again(replace(FIRST, recipients=(ANN, BOB)), no(Cause.RECIPIENT), now=7.0)

    assert (step.split, step.due, step.attempts) == (True, 7.0, 0)
    assert decide(FIRST, no(Cause.RECIPIENT), 7.0, SCHEDULE, MIDDLE) == GiveUp(Fate.FAILED)


def test_too_many_recipients_are_no_bad_recipient() -> None:
    """SES does not say which: the same ones again, later."""
    assert not again(replace(FIRST, recipients=(ANN, BOB)), not_now(Cause.RECIPIENT)).split


# The sandbox: recipients that are not verified are refused in the words that are there for identities


@pytest.mark.parametrize(
    ("named", "of_recipients"),
    [
        (ANN, True),
        (f"{ANN}, {BOB}", True),
        (f"{ANN.upper()}, <{BOB}>", True),
        (f"{ANN}, bob@c.exa...", True),
        (f"{ANN}...", False),
        (SHOP, False),
        (f"Shop <{SHOP}>", False),
        (f"{ANN}, {SHOP}", False),
        (f"{ANN}, stranger@d.example", False),
    ],
)
def test_sandbox_recipients_are_known_by_their_names(named: str, *, of_recipients: bool) -> None:
    """By both transports; when the sender is named as well, it is the identity."""
    said = f"{SANDBOX}{named}"
    for outcome in (
        from_api(400, "MessageRejected", said, "auto"),
        from_smtp(Stage.FINAL, 554, f"Message rejected: {said}", "auto"),
    ):
        assert outcome.cause is Cause.IDENTITY
        assert refuses_recipients(outcome, SHOP, (ANN, BOB)) is of_recipients
        assert refuses_identity(outcome, SHOP, (ANN, BOB)) is not of_recipients


def test_who_writes_to_itself_and_is_not_verified_is_an_identity() -> None:
    outcome = from_api(400, "MessageRejected", f"{SANDBOX}{SHOP}", "auto")

    assert not refuses_recipients(outcome, SHOP, (SHOP, ANN))
    assert refuses_identity(outcome, SHOP, (SHOP, ANN))


def test_a_sandbox_recipient_alone_is_refused_for_good() -> None:
    outcome = from_api(400, "MessageRejected", f"{SANDBOX}{ANN}", "auto")

    assert decide(FIRST, outcome, 1.0, SCHEDULE, MIDDLE) == GiveUp(Fate.FAILED)


def test_a_recipient_that_is_refused_says_nothing_of_the_identity() -> None:
    assert not refuses_identity(no(Cause.RECIPIENT), SHOP, (ANN,))
    assert not refuses_identity(Delivered("id"), SHOP, (ANN,))


@pytest.mark.parametrize("cause", sorted(CONFIGURATION))
def test_what_was_not_tried_says_nothing_of_the_identity(cause: Cause) -> None:
    """The gate repeats what others have met."""
    assert refuses_identity(not_now(cause), SHOP, (ANN,))
    assert not refuses_identity(not_now(cause, tried=False), SHOP, (ANN,))


# Warnings


@pytest.mark.parametrize(
    ("age", "after", "warned", "late"),
    [(99, 100, False, False), (100, 100, False, True), (100, 100, True, False), (1e9, None, False, False)],
)
def test_the_sender_is_told_of_the_delay_once_if_at_all(
    age: float, after: float | None, *, warned: bool, late: bool
) -> None:
    schedule = replace(SCHEDULE, delay_warning=after)

    assert is_late(5.0, 5.0 + age, schedule, warned=warned) is late


# Whatever happens


@given(histories, outcomes, ages, schedules, chances)
def test_nothing_is_given_up_before_its_time(
    history: History, outcome: Outcome, age: float, schedule: Schedule, chance: float
) -> None:
    """But by SES, or by the third lost answer."""
    step = decide(history, outcome, history.since + age, schedule, chance)

    if isinstance(step, GiveUp):
        by_ses = isinstance(outcome, Failed) and not refuses_identity(outcome, history.sender, history.recipients)
        lost = not isinstance(outcome, Delivered) and outcome.cause is Cause.LOST_ANSWER
        assert by_ses or (lost and history.lost == LOST_MOST - 1) or age >= schedule.lifetime
        assert step.fate is not Fate.FAILED or by_ses
        assert step.fate is not Fate.EXPIRED or not history.lost


@given(histories, outcomes, ages, schedules, chances)
def test_nothing_is_tried_before_its_wait_nor_after_its_lifetime(
    history: History, outcome: Outcome, age: float, schedule: Schedule, chance: float
) -> None:
    """Due within its lifetime, but for the ten minutes after a lost answer; never more than a fifth off."""
    now = history.since + age
    step = decide(history, outcome, now, schedule, chance)
    assume(isinstance(step, Again) and not isinstance(outcome, Delivered))
    assert isinstance(step, Again)
    assert isinstance(outcome, Deferred | Failed)

    lost = step.lost - history.lost
    assert step.due <= max(history.since + schedule.lifetime, now, now + lost * LOST_APART_S)
    assert step.due >= now + lost * LOST_APART_S or not getattr(outcome, "tried", True)
    assert step.due <= now + schedule.longest_s + 1e-6
    assert history.attempts - 1 <= step.attempts <= history.attempts
    assert step.split is False or len(history.recipients) > 1


@given(outcomes, histories, schedules, chances)
def test_the_wait_is_one_that_was_configured(
    outcome: Outcome, history: History, schedule: Schedule, chance: float
) -> None:
    """Give or take a fifth; or that of the probes, or that after a lost answer."""
    step = decide(history, outcome, history.since, replace(schedule, lifetime=inf), chance)
    assume(isinstance(step, Again) and not step.split and getattr(outcome, "tried", True))
    assert isinstance(step, Again)

    waits = (*schedule.retry, 300.0, *LOST_WAITS_S)
    wait = step.due - history.since
    assert any(0.8 * one - 1e-6 <= wait <= 1.2 * one + 1e-6 for one in waits)


@given(st.lists(st.tuples(outcomes, chances), max_size=40), schedules)
def test_a_whole_life(answers: list[tuple[Outcome, float]], schedule: Schedule) -> None:
    """At most three answers are lost, each at least ten minutes after the one before."""
    history, now = replace(FIRST, recipients=(ANN,), attempts=0), 0.0
    lost_at: list[float] = []
    for outcome, chance in answers:
        history = replace(history, attempts=history.attempts + 1)
        if not isinstance(outcome, Delivered) and outcome.cause is Cause.LOST_ANSWER:
            tried = isinstance(outcome, Failed) or outcome.tried
            assume(tried and isinstance(outcome, Deferred))
            lost_at.append(now)
        step = decide(history, outcome, now, schedule, chance)
        if not isinstance(step, Again):
            break
        history, now = replace(history, attempts=step.attempts, lost=step.lost), max(step.due, now)
        assert history.attempts >= 0

    assert len(lost_at) <= LOST_MOST
    assert all(later - sooner >= LOST_APART_S for sooner, later in pairwise(lost_at))
