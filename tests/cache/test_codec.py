"""Answers as bytes: what was not made here, for this question, is not an answer."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessioncast_server.cache.base import Kept, Key
from sessioncast_server.cache.codec import decode, encode, name_of
from sessioncast_shared.position import Position

KEY = Key("01234567-89ab-7def-8123-456789abcdef", "run.*")
KEPT = Kept("p", Position("e", 7), '"e:7"', b'{"data": [1]}')


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 10**18 - 1))
def test_an_answer_survives(body: bytes, offset: int) -> None:
    """Whatever its body."""
    kept = Kept("p", Position("0e", offset), '"0e:floor-3"', body)
    assert decode(KEY, encode(KEY, kept)) == kept


def test_names_are_in_one_slot_and_no_others() -> None:
    """The task is the hash tag; the view is behind it."""
    assert name_of(KEY) == "sessioncast:lookup:{01234567-89ab-7def-8123-456789abcdef}:run.*"


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_garbage_is_no_answer(garbage: bytes) -> None:
    """No bytes make it fail."""
    assert decode(KEY, garbage) is None


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(1, 255))
def test_one_wrong_byte_is_no_other_answer(at: int, change: int) -> None:
    """With any byte changed it is no answer, or the same body: never another one."""
    value = bytearray(encode(KEY, KEPT))
    value[at % len(value)] ^= change
    found = decode(KEY, bytes(value))
    assert found is None or found.body == KEPT.body


def test_a_part_is_no_answer() -> None:
    """Cut off anywhere it is none."""
    value = encode(KEY, KEPT)
    assert all(decode(KEY, value[:end]) is None for end in range(len(value)))
    assert decode(KEY, value + b" ") is None


@pytest.mark.parametrize("key", [Key(KEY.task_id, "run.true"), Key("other", KEY.view)])
def test_the_answer_to_another_question_is_none(key: Key) -> None:
    """Who is given the bytes of another question notices."""
    assert decode(KEY, encode(key, KEPT)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": "1"},
        {"key": None},
        {"key": [KEY.task_id]},
        {"project": 7},
        {"position": "e"},
        {"position": 7},
        {"position": "e:-1"},
        {"etag": 'x"'},
        {"etag": '"a"\r\nX-Evil: 1'},
        {"etag": '"' + "a" * 300 + '"'},
        {"digest": "0"},
        {"digest": None},
    ],
    ids=str,
)
def test_a_field_that_is_not_ours_makes_it_none(change: dict[str, object]) -> None:
    """Types, forms and the version are checked; above all no tag can carry another header."""
    line, _, body = encode(KEY, KEPT).partition(b"\n")
    assert decode(KEY, orjson.dumps(orjson.loads(line) | change) + b"\n" + body) is None
