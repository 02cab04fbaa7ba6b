"""What is remembered of the newest events, by plain calls."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sessioncast_server.channels.watermarks import Watermarks

TASKS = ["a", "b", "c", "d", "e"]
events = st.lists(st.tuples(st.sampled_from(TASKS) | st.none(), st.integers(11, 40)), max_size=40)


@settings(deadline=None)
@given(events, st.integers(1, 6))
def test_nothing_that_was_heard_is_forgotten(heard: list[tuple[str | None, int]], limit: int) -> None:
    """Whatever the order and the bound: what holds was not overtaken, and is not older than what is known."""
    marks = Watermarks(limit, since=10)
    for task, offset in heard:
        marks.hear(task, offset)
        assert len(marks) <= limit
    for task in TASKS:
        newest = max((offset for heard_of, offset in heard if heard_of == task), default=0)
        for offset in range(45):
            if marks.holds(task, offset):
                assert offset >= max(10, newest)
            elif limit >= len(TASKS):
                assert offset < max(10, newest)
