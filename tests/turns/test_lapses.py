"""When a lease has run out, by a clock of the test's own."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sessioncast_server.turns.rules import Lapses, Lease


class Clock:
    """Monotonic seconds that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_runs_out_when_it_was_not_renewed_for_its_time() -> None:
    """It is not found before its time has passed since it was first seen; then at each look."""
    clock = Clock()
    lapses, lease = Lapses(clock), Lease("a", 0, 5)
    assert lapses.look([lease]) == []
    clock.now += 4.999
    assert lapses.look([lease]) == []
    clock.now += 0.001
    assert lapses.look([lease]) == [lease]
    assert lapses.look([lease]) == [lease]


def test_a_renewal_begins_anew() -> None:
    """Its time counts from the look that first saw the renewal, never from before it."""
    clock = Clock()
    lapses = Lapses(clock)
    lapses.look([Lease("a", 0, 5)])
    clock.now += 100  # renewed some time in between
    assert lapses.look([Lease("a", 1, 5)]) == []
    clock.now += 4
    assert lapses.look([Lease("a", 1, 5)]) == []
    clock.now += 1
    assert lapses.look([Lease("a", 1, 5)]) == [Lease("a", 1, 5)]


def test_the_first_look_ends_nothing() -> None:
    """A process that has just started knows of no lease how long it stands still, however old it is."""
    clock = Clock()
    assert Lapses(clock).look([Lease("a", 7, 1), Lease("b", 0, 0)]) == []


def test_a_process_that_stood_still_blames_nobody() -> None:
    """After an hour without a look a lease that was renewed meanwhile has its whole time again."""
    clock = Clock()
    lapses = Lapses(clock)
    lapses.look([Lease("a", 0, 5)])
    clock.now += 3600
    assert lapses.look([Lease("a", 700, 5)]) == []


def test_each_has_a_time_of_its_own() -> None:
    """Of several leases those are found whose own time is over."""
    clock = Clock()
    lapses = Lapses(clock)
    leases = [Lease("a", 0, 1), Lease("b", 0, 2), Lease("c", 0, 3)]
    lapses.look(leases)
    clock.now += 2
    assert lapses.look(leases) == leases[:2]


def test_what_is_gone_is_forgotten() -> None:
    """A lease that was not among those of a look begins anew when it comes back, and costs nothing meanwhile."""
    clock = Clock()
    lapses, lease = Lapses(clock), Lease("a", 0, 5)
    lapses.look([lease])
    assert len(lapses) == 1
    lapses.look([])
    assert len(lapses) == 0
    clock.now += 5
    assert lapses.look([lease]) == []


def test_what_is_watched_is_bounded() -> None:
    """Over the bound some are not watched until others are gone; then they are."""
    clock = Clock()
    lapses = Lapses(clock, limit=2)
    leases = [Lease(name, 0, 1) for name in "abc"]
    lapses.look(leases)
    assert len(lapses) == 2
    clock.now += 1
    found = lapses.look(leases)
    assert len(found) == 2
    rest = [lease for lease in leases if lease not in found]
    assert lapses.look(rest) == []
    clock.now += 1
    assert lapses.look(rest) == rest


steps = st.lists(
    st.tuples(st.floats(0, 4), st.booleans(), st.booleans()),  # seconds that pass, renewed?, looked?
    max_size=40,
)


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(steps, st.floats(1, 5))
def test_never_before_its_time(history: list[tuple[float, bool, bool]], lease_s: float) -> None:
    """Whenever it is found, at least its whole time has passed since it was last renewed, whoever looked when."""
    clock = Clock()
    lapses, renewals, renewed_at = Lapses(clock), 0, clock.now
    for passed, renewed, looked in history:
        clock.now += passed
        if renewed:
            renewals, renewed_at = renewals + 1, clock.now
        if looked and lapses.look([Lease("a", renewals, lease_s)]):
            assert clock.now - renewed_at >= lease_s - 1e-6


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=30), st.floats(1, 5))
def test_never_missed(pauses: list[float], lease_s: float) -> None:
    """One that stands still is found by the first look that comes its time after the first one."""
    clock = Clock()
    lapses, lease = Lapses(clock), Lease("a", 3, lease_s)
    lapses.look([lease])
    first = clock.now
    for pause in pauses:
        clock.now += pause
        assert bool(lapses.look([lease])) is (clock.now - first >= lease_s)
