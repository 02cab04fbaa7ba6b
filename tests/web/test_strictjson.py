"""JSON of requests means one thing only."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessioncast_server.problems import Problem
from sessioncast_server.web.strictjson import loads

DEEP = 64
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def read(body: bytes) -> Any:
    """The body's value at the usual depth."""
    return loads(body, max_depth=DEEP)


def refusal(body: bytes) -> tuple[int, str]:
    """Status and code of the refusal."""
    with pytest.raises(Problem) as caught:
        read(body)
    return caught.value.status, caught.value.code


@given(value=VALUES, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_whatever_can_be_written_is_read_back(value: Any, ascii_only: bool, indent: int | None) -> None:
    """Every value within the bounds survives, escaped or not, indented or not."""
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert read(body) == value


@given(body=st.binary(max_size=60) | st.text('{}[]":,\\u0d81eE+-.NaInf \t', max_size=40).map(str.encode))
def test_no_bytes_raise_anything_but_a_problem(body: bytes) -> None:
    """Garbage is a named 400, and what is accepted is what the standard library reads."""
    try:
        value = read(body)
    except Problem as problem:
        assert problem.status == 400  # noqa: PT017  both outcomes are right, each in its way
    else:
        assert value == json.loads(body)


@given(before=VALUES, name=TEXTS, after=VALUES)
def test_a_repeated_key_is_never_missed(before: Any, name: str, after: Any) -> None:
    """Two equal keys are refused wherever they stand, whatever stands around them, escaped or not."""
    key, escaped = json.dumps(name, ensure_ascii=False), "".join(f"\\u{ord(c):04x}" for c in name if ord(c) < 0x10000)
    second = f'"{escaped}"' if len(escaped) == 6 * len(name) else key
    body = f"[{json.dumps(before)}, {{{key}: 1, {second}: {json.dumps(after)}}}]".encode()
    assert refusal(body) == (400, "bad_json")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"{'a': 1}",
        b'{"a": 1} x',
        b"01",
        b"+1",
        b".5",
        b"1.",
        b'"\t"',
        b'"\\x"',
        b"NaN",
        b"Infinity",
        b"[-Infinity]",
        b"1e999",
        b"-1e999",
        b'{"a": 1, "a": 2}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"\\u003a": 1, "a": 1, "a": 2}',
        b"9223372036854775808",
        b"-9223372036854775809",
        b"18446744073709551615",
        b"18446744073709551616",
        b"[" + b"9" * 5000 + b"]",
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b'"' + b'\\"' * 100_000,
    ],
)
def test_broken_or_ambiguous_json_is_named(body: bytes) -> None:
    """What is no JSON, or could be read in two ways, is `bad_json` (UTF-16 may be `bad_unicode`)."""
    status, code = refusal(body)
    assert status == 400
    assert code == ("bad_unicode" if body.startswith(b"\xff\xfe") else "bad_json")


@pytest.mark.parametrize(
    "body",
    [b"\xff", b'"\xc3"', b'"\xed\xa0\x80"', b'"\\ud800"', b'"\\uD800x"', b'"\\udc00\\ud800"', b'{"\\udC00": 1}'],
)
def test_half_a_character_is_named(body: bytes) -> None:
    """Invalid UTF-8 and surrogates without their partner, raw or escaped, in values and keys, are `bad_unicode`."""
    assert refusal(body) == (400, "bad_unicode")


def test_a_whole_surrogate_pair_is_a_character() -> None:
    """Escaped characters beyond the first plane are read."""
    assert read(b'"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_depth_is_bounded_exactly(opening: bytes, closing: bytes) -> None:
    """The deepest nesting allowed is read, one more is refused."""
    times = DEEP // (opening.count(b"[") + opening.count(b"{"))
    assert read(opening * times + b"1" + closing * times) is not None
    body = b"[" + opening * times + b"1" + closing * times + b"]"
    assert refusal(body) == (400, "too_deep")


@pytest.mark.parametrize(
    "body",
    [b"[" * 200_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 150_000, b"[" * 900 + b"]" * 900, b"[[" * 500_000],
)
def test_depth_beyond_measure_is_no_recursion_error(body: bytes) -> None:
    """200,000 brackets are `too_deep`, closed or not."""
    assert refusal(body) == (400, "too_deep")


def test_brackets_in_texts_are_no_depth() -> None:
    """Only nesting counts, not the characters."""
    assert read(json.dumps(["[" * 1000, [{"{": "}"}] * 100]).encode())


def test_integers_reach_to_64_bit() -> None:
    """The least and the greatest integer of 64 bit are read; long digits in texts and fractions do no harm."""
    assert read(b"[9223372036854775807, -9223372036854775808]") == [2**63 - 1, -(2**63)]
    assert read(b'["99999999999999999999", 0.99999999999999999999, 12345678901234567890.5]')[0] == "9" * 20


def test_a_refusal_says_where() -> None:
    """The detail names line and column, or the key, without repeating a body's worth of it."""
    with pytest.raises(Problem, match="line 2, column 6"):
        read(b'{\n"a": }')
    with pytest.raises(Problem, match="the key 'twice' stands twice"):
        read(b'{"twice": 1, "twice": 1}')
    with pytest.raises(Problem) as caught:
        read(b'{"' + b"k" * 9000 + b'": 1, "' + b"k" * 9000 + b'": 1}')
    assert len(caught.value.detail) < 200
