"""Cursors of lists."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sessioncast_server.problems import Problem
from sessioncast_server.web.cursor import PageQuery, decode, encode


@given(
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50),
    number=st.integers(0, 2**63 - 1),
)
def test_a_sort_key_comes_back(text: str, number: int) -> None:
    """What was encoded is decoded, by the same types."""
    assert decode(encode([text, number]), str, int) == (text, number)


@pytest.mark.parametrize("letter", ["a", "\U0001f600", "\x01", '"'])
def test_the_longest_name_makes_a_cursor(letter: str) -> None:
    """Two hundred characters that JSON or UTF-8 makes longer come back."""
    assert decode(encode([letter * 200]), str) == (letter * 200,)


@given(cursor=st.text(max_size=40) | st.text("abcWyIxXQ-_=", max_size=20))
def test_garbage_is_a_bad_cursor(cursor: str) -> None:
    """No text but a cursor of this form is accepted."""
    try:
        key = decode(cursor, str, int)
    except Problem as problem:
        assert (problem.status, problem.code) == (400, "bad_cursor")  # noqa: PT017  both outcomes are right
    else:
        assert encode(key) == cursor


@pytest.mark.parametrize(
    "key", [[], ["a"], ["a", 1, 2], [1, "a"], ["a", True], ["a", -1], ["a\0", 1], [["a"], 1], ["a", 1.0], ["a", 2**63]]
)
def test_a_cursor_of_another_list_is_bad(key: list[object]) -> None:
    """The parts must be as many and of the types that this list sorts by, within what a database can compare."""
    with pytest.raises(Problem) as caught:
        decode(encode(key), str, int)  # type: ignore[arg-type]  # wrong keys are the point
    assert caught.value.code == "bad_cursor"


def test_a_cursor_has_one_spelling() -> None:
    """Padding, spaces and another JSON spelling of the same key are refused."""
    good = encode(["a", 1])
    spaced = base64.urlsafe_b64encode(b'["a", 1]').rstrip(b"=").decode()
    for cursor in (good + "=", " " + good, spaced, "A" * 5000):
        with pytest.raises(Problem):
            decode(cursor, str, int)


def test_pages_have_1_to_200_items() -> None:
    """50 by default."""
    assert PageQuery().limit == 50
    for limit in (0, 201, -1):
        with pytest.raises(ValidationError):
            PageQuery(limit=limit)
