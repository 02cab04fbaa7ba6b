"""The account of a stream: bad data is found, and good data is not blamed."""

from datetime import UTC, datetime

import pytest

from swarm.ledger import Ledger

AT = "2026-11-21T10:00:00.000000Z"
NOW = datetime(2026, 11, 21, 10, 0, 0, 5_000, tzinfo=UTC).timestamp()


def opened(at: int = 10) -> tuple[Ledger, list[float]]:
    delivered: list[float] = []
    ledger = Ledger(delivered.append)
    ledger.opened(f"e:{at}")
    return ledger, delivered


def hear(ledger: Ledger, *offsets: int) -> None:
    for offset in offsets:
        ledger.heard(f"e:{offset}", AT, NOW)


def test_every_event_in_order_is_without_fault() -> None:
    """A stream that hears all events up to the head has lost nothing."""
    ledger, _ = opened()
    hear(ledger, 11, 12, 13)
    ledger.stands("e:13")
    ledger.close(13)
    assert (ledger.events, ledger.lost, dict(ledger.faults)) == (3, 0, {})


@pytest.mark.parametrize(
    ("offsets", "head", "lost", "fault"),
    [
        ((11, 13), 13, 1, "hole"),
        ((12,), 12, 1, "hole"),
        ((11, 11), 11, 0, "doubled or out of order"),
        ((11, 12, 11), 12, 0, "doubled or out of order"),
        ((11, 12), 15, 3, "missing at the end"),
    ],
)
def test_what_is_wrong_is_found(offsets: tuple[int, ...], head: int, lost: int, fault: str) -> None:
    """A hole, a double, a step back and a missing end are faults, and the lost events are counted."""
    ledger, _ = opened()
    hear(ledger, *offsets)
    ledger.close(head)
    assert (ledger.lost, dict(ledger.faults)) == (lost, {fault: 1})


def test_a_position_ahead_of_the_events_is_a_loss() -> None:
    """A heartbeat that names a position whose events never came gives the loss away at once."""
    ledger, _ = opened()
    hear(ledger, 11)
    ledger.stands("e:14")
    assert (ledger.lost, dict(ledger.faults)) == (3, {"position ahead of the events": 1})


def test_an_event_of_another_life_is_a_fault() -> None:
    """An event of an epoch that the stream is not in does not count as heard."""
    ledger, _ = opened()
    ledger.heard("f:11", AT, NOW)
    assert (ledger.events, dict(ledger.faults)) == (0, {"another epoch": 1})


def test_an_event_before_the_state_is_a_fault() -> None:
    """Events may only follow the state that they change."""
    delivered: list[float] = []
    ledger = Ledger(delivered.append)
    ledger.heard("e:1", AT, NOW)
    ledger.close(1)
    assert dict(ledger.faults) == {"event before the state": 1, "no state": 1}


def test_own_changes_are_timed_whichever_comes_first() -> None:
    """The time from a change to its event is taken when the answer came before the event, and when it came after."""
    ledger, delivered = opened()
    ledger.changed("e:11")
    hear(ledger, 11, 12)
    ledger.changed("e:12")
    assert delivered == pytest.approx([0.005, 0.005], abs=1e-5)


def test_others_changes_are_not_timed() -> None:
    """Only the events of own changes are samples."""
    ledger, delivered = opened()
    hear(ledger, 11, 12)
    assert delivered == []
