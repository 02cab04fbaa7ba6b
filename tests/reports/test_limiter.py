"""How many reports are taken of one user."""

import pytest

from sessioncast_server.reports.limiter import Limiter


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


def test_so_many_in_any_minute(clock: Clock) -> None:
    """The next is allowed a period after the first, not before, and at no time are there more in a period."""
    limiter = Limiter(3, 60, clock=clock)
    for _ in range(3):
        assert limiter.take("ann") == 0
        clock.now += 10
    assert limiter.take("ann") == 30
    clock.now += 29
    assert limiter.take("ann") == 1
    clock.now += 1
    assert limiter.take("ann") == 0
    assert limiter.take("ann") == 10


def test_refusals_do_not_count(clock: Clock) -> None:
    """Who asks again and again is allowed one when its time has come all the same."""
    limiter = Limiter(1, 60, clock=clock)
    assert limiter.take("ann") == 0
    for _ in range(59):
        clock.now += 1
        assert limiter.take("ann") > 0
    clock.now += 1
    assert limiter.take("ann") == 0


def test_users_do_not_share(clock: Clock) -> None:
    """One user's flood leaves the others theirs."""
    limiter = Limiter(1, 60, clock=clock)
    assert [limiter.take(user) for user in ("ann", "ann", "bob")] == [0, 60, 0]


def test_who_was_quiet_is_forgotten(clock: Clock) -> None:
    """After a period nothing is kept of a user; of very many the one that was allowed none for longest goes first."""
    limiter = Limiter(2, 60, clock=clock, users=3)
    for user in ("ann", "bob", "cid", "ann", "dan", "bob", "bob"):
        assert limiter.take(user) == 0  # bob was forgotten for dan
        clock.now += 1
    assert limiter.users == 3
    assert limiter.take("bob") > 0
    assert limiter.take("ann") > 0
    clock.now += 60
    assert limiter.take("eve") == 0
    assert limiter.users == 1
