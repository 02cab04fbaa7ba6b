"""The wheel against a model: a dictionary of when each item is due."""

from hypothesis import given
from hypothesis import strategies as st

from sessioncast_server.channels.wheel import Wheel


class Item:
    """Stands in at most one wheel."""

    def __init__(self, name: int) -> None:
        self.name = name
        self.due = 0


NAMES = 6
add = st.tuples(st.just("add"), st.integers(0, NAMES - 1), st.floats(0, 30))
discard = st.tuples(st.just("discard"), st.integers(0, NAMES - 1), st.just(0.0))
ask = st.tuples(st.just("ask"), st.just(0), st.floats(0, 5))


@given(st.lists(add | discard | ask, max_size=60), st.sampled_from([0.25, 1.0, 3.0]))
def test_each_item_comes_once_when_it_is_due_and_at_most_a_tick_late(
    steps: list[tuple[str, int, float]], resolution_s: float
) -> None:
    """Never before its time, never later than the first question after its tick ended, never after a discard."""
    wheel: Wheel[Item] = Wheel(resolution_s)
    items = [Item(name) for name in range(NAMES)]
    at: dict[int, float] = {}
    now = 0.0
    for what, name, value in steps:
        if what == "ask":
            now += value
            came = [each.name for each in wheel.due(now)]
            assert len(came) == len(set(came))
            for each in came:
                assert at.pop(each) <= now
            assert all(now < due + resolution_s for due in at.values())
        elif what == "discard":
            wheel.discard(items[name])
            wheel.discard(items[name])
            at.pop(name, None)
        elif name not in at:
            # Also in the past: then it is due at the next tick, not lost.
            wheel.add(items[name], value)
            at[name] = max(value, now)
        assert sorted(each.name for each in wheel.items()) == sorted(at)
    assert {each.name for each in wheel.due(now + 100)} == at.keys()
    assert wheel._buckets == {}


@given(st.permutations(range(NAMES)), st.integers(0, NAMES - 1), st.integers(0, NAMES - 1))
def test_who_asks_may_add_and_discard_meanwhile(order: list[int], gone: int, again: int) -> None:
    """An item discarded in between does not come any more; one that is put back does not come in the same round."""
    wheel: Wheel[Item] = Wheel(1.0)
    items = [Item(name) for name in range(NAMES)]
    for name in order:
        wheel.add(items[name], 0.5 + name % 2)
    came: list[int] = []
    was_in = False
    for item in wheel.due(10.0):
        came.append(item.name)
        if len(came) == 1:
            was_in = gone != item.name
            wheel.discard(items[gone])
        if item.name == again:
            wheel.add(item, 0.0)
    assert len(came) == len(set(came)) == NAMES - (1 if was_in else 0)
    if was_in:
        assert gone not in came
    assert [each.name for each in wheel.items()] == ([again] if again in came else [])
