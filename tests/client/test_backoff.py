"""How long the client waits."""

from sessioncast.backoff import Backoff
from sessioncast.limits import Limits

LIMITS = Limits(backoff_base_s=1.0, backoff_cap_s=10.0, retry_after_cap_s=60.0)


def test_waits_spread_over_all_of_a_doubling_interval() -> None:
    """Full jitter: from nothing up to twice as much each time, and never over the cap."""
    most, least = Backoff(LIMITS, jitter=lambda: 1.0), Backoff(LIMITS, jitter=lambda: 0.0)
    assert [most.next_s() for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert [least.next_s() for _ in range(6)] == [0] * 6


def test_what_the_server_asks_for_is_a_floor() -> None:
    """Nobody comes back before the time the server named, nor all at once when it has come."""
    backoff = Backoff(LIMITS, jitter=lambda: 0.5)
    assert backoff.next_s(7.0) == 7.5
    assert backoff.next_s(7.0) == 8.0


def test_absurd_wishes_are_not_believed() -> None:
    """A wait without end, or one into the past, is cut to the bounds."""
    backoff = Backoff(LIMITS, jitter=lambda: 0.0)
    assert backoff.next_s(1e9) == 60.0
    assert backoff.next_s(-5.0) == 0.0


def test_days_of_trying_do_not_overflow() -> None:
    """The cap holds after any number of tries, and a reset begins anew."""
    backoff = Backoff(LIMITS, jitter=lambda: 1.0)
    assert {backoff.next_s() for _ in range(5000)} == {1, 2, 4, 8, 10}
    backoff.reset()
    assert backoff.next_s() == 1
