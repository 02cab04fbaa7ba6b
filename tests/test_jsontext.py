"""JSON text of answers and events."""

import tracemalloc

from sessioncast_server.jsontext import fitted, json_bytes


def test_what_is_kept_takes_no_more_memory_than_it_needs() -> None:
    """A thousand small texts hold less than twice their bytes and the objects around them, however they were made."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [json_bytes({"number": number, "text": "x" * 200}) for number in range(1000)]
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held < 2 * sum(map(len, kept))


def test_fitted_bytes_are_the_same_bytes() -> None:
    """Nothing is lost in the copy, also of nothing."""
    for data in (b"", b"x", bytes(range(256)) * 300):
        assert fitted(data) == data
