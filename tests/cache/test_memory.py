"""The bounds of the cache in this process, against a plain model."""

from collections import OrderedDict

from hypothesis import given, settings
from hypothesis import strategies as st

from sessioncast_server.cache.base import Kept, Key
from sessioncast_server.cache.memory import _OVERHEAD, MemoryCache
from sessioncast_shared.position import Position

steps = st.lists(
    st.tuples(
        st.sampled_from(["get", "put", "put", "wait", "sweep"]),
        st.integers(0, 7),  # which question
        st.integers(1, 9),  # how large, or how long
    ),
    max_size=60,
)


def kept(size: int) -> Kept:
    """An answer of this size."""
    return Kept("p", Position("e", 1), '"t"', b"x" * size)


@settings(deadline=None)
@given(steps, st.integers(1, 5), st.integers(1, 5))
async def test_what_is_kept_is_what_was_asked_for_last(
    script: list[tuple[str, int, int]], entries: int, large: int
) -> None:
    """Number, bytes, lives and the order of going are those of a list that is walked by hand."""
    now = 0.0
    size = large * (_OVERHEAD + 9)
    cache = MemoryCache(entries=entries, size=size, clock=lambda: now)
    model: OrderedDict[Key, tuple[int, float]] = OrderedDict()
    for step, which, amount in script:
        key = Key(str(which), "v")
        if step == "wait":
            now += amount
        elif step == "sweep":
            cache.sweep()
            while model and next(iter(model.values()))[1] <= now:
                model.popitem(last=False)
        elif step == "put":
            await cache.put(key, kept(amount), amount)
            model.pop(key, None)
            model[key] = (amount, now + amount)
            while len(model) > entries or sum(each + _OVERHEAD for each, _ in model.values()) > size:
                model.popitem(last=False)
        else:
            found = await cache.get(key)
            if key in model and model[key][1] > now:
                model.move_to_end(key)
                assert found is not None
                assert (len(found.kept.body), found.left_s) == (model[key][0], model[key][1] - now)
            else:
                model.pop(key, None)
                assert found is None
        assert len(cache) == len(model) <= entries
        assert cache.size == sum(each + _OVERHEAD for each, _ in model.values()) <= size
    await cache.close()
    assert (len(cache), cache.size) == (0, 0)
