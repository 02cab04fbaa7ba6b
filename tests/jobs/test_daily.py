"""Work that is done once a day, by a clock that the test turns."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessioncast_server.db.errors import UnavailableError
from sessioncast_server.jobs.daily import daily, next_time

START = datetime(2026, 2, 27, 12, 30, tzinfo=UTC)


class OverError(Exception):
    """The test has seen enough."""


class Clock:
    """A clock that goes only while somebody sleeps.

    Attributes:
        slept: seconds, one by one.
        jumps: what the clock is set to at a sleep, by its number.
    """

    def __init__(self, now: datetime, *, until: datetime) -> None:
        self.now = now
        self.slept: list[float] = []
        self.jumps: dict[int, datetime] = {}
        self._until = until

    def __call__(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """The time passes; at the end of the test it is over."""
        assert seconds > 0
        self.slept.append(seconds)
        self.now = self.jumps.get(len(self.slept), self.now + timedelta(seconds=seconds))
        if self.now >= self._until:
            raise OverError


async def worked(clock: Clock, hour: int, do: Callable[[], None] = lambda: None) -> list[datetime]:
    """When it was done."""
    found: list[datetime] = []

    async def work() -> None:
        found.append(clock.now)
        do()

    with pytest.raises(OverError):
        await daily("test", hour, work, clock=clock, sleep=clock.sleep)
    return found


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.integers(-14, 14), st.integers(0, 23))  # noqa: DTZ001  the zone is drawn
def test_the_next_time_is_the_next(naive: datetime, offset: int, hour: int) -> None:
    """It is a full hour in UTC, later than now and by a day at most, whatever zone now is told in."""
    now = naive.replace(tzinfo=timezone(timedelta(hours=offset)))
    found = next_time(now, hour)
    assert timedelta(0) < found - now <= timedelta(days=1)
    assert (found.hour, found.minute, found.second, found.microsecond) == (hour, 0, 0, 0)
    assert found.utcoffset() == timedelta(0)


async def test_it_is_done_daily_at_its_hour() -> None:
    """Once at each full hour of its name, in UTC; never at the start, never twice."""
    clock = Clock(START, until=START + timedelta(days=3))
    days = [datetime(2026, 2, 28, 2, tzinfo=UTC) + timedelta(days=day) for day in range(3)]
    assert await worked(clock, 2) == days
    assert max(clock.slept) <= 60


async def test_at_the_hour_itself_the_next_day_is_meant() -> None:
    """A node that starts at 02:00 sharp leaves it to the next day: of several that restart none does it twice."""
    clock = Clock(START.replace(hour=2, minute=0), until=START + timedelta(days=2))
    assert await worked(clock, 2) == [datetime(2026, 2, 28, 2, tzinfo=UTC), datetime(2026, 3, 1, 2, tzinfo=UTC)]


async def test_what_takes_long_is_not_done_again() -> None:
    """Work that ends hours later is next done on the next day."""
    clock = Clock(START, until=START + timedelta(days=2))

    def take_long() -> None:
        clock.now += timedelta(hours=5)

    assert [moment.day for moment in await worked(clock, 2, take_long)] == [28, 1]


async def test_a_database_that_is_away_puts_it_off() -> None:
    """After a failure of the database it is tried again every five minutes, and then on the next day."""
    clock = Clock(START, until=START + timedelta(days=2))
    away = [True, True, False, False]

    def fail() -> None:
        if away.pop(0):
            raise UnavailableError("away")

    first = datetime(2026, 2, 28, 2, tzinfo=UTC)
    again = [first, first + timedelta(minutes=5), first + timedelta(minutes=10)]
    assert await worked(clock, 2, fail) == [*again, first + timedelta(days=1)]


async def test_a_mistake_is_no_absence() -> None:
    """What is no failure of the database is not tried again in silence: it ends the job, for whoever keeps it going."""
    clock = Clock(START, until=START + timedelta(days=2))

    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await daily("test", 2, work, clock=clock, sleep=clock.sleep)


async def test_a_machine_that_slept_does_it_late() -> None:
    """A clock that jumps over the hour is noticed within a minute, and it is done once, then."""
    clock = Clock(START, until=START + timedelta(days=2))
    clock.jumps[3] = late = datetime(2026, 2, 28, 7, 15, tzinfo=UTC)
    assert await worked(clock, 2) == [late, datetime(2026, 3, 1, 2, tzinfo=UTC)]


async def test_a_clock_that_is_put_back_delays_nothing_for_long() -> None:
    """Put back, it is done when the clock shows the hour that was waited for, and not before."""
    clock = Clock(START, until=START + timedelta(days=2))
    clock.jumps[5] = START - timedelta(hours=12)
    assert await worked(clock, 2) == [datetime(2026, 2, 28, 2, tzinfo=UTC), datetime(2026, 3, 1, 2, tzinfo=UTC)]
