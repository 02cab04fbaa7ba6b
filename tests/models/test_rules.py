"""How models compare, row by row and for any JSON."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessioncast_server.models.rules import DEFAULT_CRITICAL, Difference, compare, major

# version -> its first number, and why
MAJORS: list[tuple[str | None, int | None, str]] = [
    (None, None, "no version has no number"),
    ("", None, "nor has an empty one"),
    ("latest", None, "nor has a word"),
    ("٣", None, "only ASCII digits count"),
    ("²", None, "and no superscripts"),
    ("1", 1, "a bare number"),
    ("2.1.3", 2, "semver"),
    ("2.1-beta", 2, "semver with what comes before a release"),
    ("10.0.0+build.7", 10, "two digits are one number"),
    ("0.9", 0, "zero is a number"),
    ("v2", 2, "a letter before it does not matter"),
    ("V2", 2, "in either case"),
    (" 3 ", 3, "nor do spaces"),
    ("release-3", 3, "nor does a word"),
    ("-5", 5, "a dash is no sign"),
    ("beta2.1", 2, "the first number counts, whatever it follows"),
    ("0613", 613, "month and day without a year are a number like any"),
    ("007", 7, "zeros before it do not matter"),
    ("1e5", 1, "an exponent is not read"),
    ("2025-08-01", 20250801, "a date is one number"),
    ("2025.08.01", 20250801, "with dots"),
    ("2025_08_01", 20250801, "with underscores"),
    ("2025/08/01", 20250801, "with slashes"),
    ("20250801", 20250801, "and compact"),
    ("v2025-08-01", 20250801, "a letter before a date does not matter"),
    ("preview-2025-08-01-b", 20250801, "nor does a word before or after it"),
    ("2025-08-01T12:00:00Z", 20250801, "nor does the time of day"),
    ("2024-02-29", 20240229, "a leap day is a day"),
    ("2025-08", 202508, "year and month are one number"),
    ("2025-08-preview", 202508, "also before a word"),
    ("2025-08.2", 202508, "and before a number of its own"),
    ("2025.08", 2025, "with a dot they are two numbers: so are calendar versions written"),
    ("2025-02-29", 2025, "a day that there is not is no date"),
    ("2025-13-01", 2025, "nor is a month that there is not"),
    ("2025-13", 2025, "also without a day"),
    ("2025-00-10", 2025, "months count from one"),
    ("0000-01-01", 0, "years too"),
    ("2025-08.01", 202508, "two separators make no date with a day"),
    ("2025.08-01", 2025, "whichever comes first"),
    ("2025-8-1", 2025, "a date has two digits for the month and for the day"),
    ("2025-08-1", 2025, "for the day alone too"),
    ("2025-08-011", 2025, "and not three"),
    ("2025-081", 2025, "nor has the month three"),
    ("12025-08-01", 12025, "nor has the year five"),
    ("1.2025-08-01", 1, "a date that does not come first does not count"),
    ("9" * 200, int("9" * 200), "a number may be as long as a version"),
]


@pytest.mark.parametrize(("version", "number", "why"), MAJORS)
def test_the_first_number_of_a_version(version: str | None, number: int | None, why: str) -> None:
    """Each row of the table of versions holds."""
    assert major(version) == number, why


M = {"name": "m"}


def _v(version: str | None) -> dict[str, Any]:
    return {**M, "version": version}


def _p(**params: Any) -> dict[str, Any]:
    return {**M, "params": params}


# one model, another, what the difference is, and why
PAIRS: list[tuple[dict[str, Any], dict[str, Any], str, tuple[str, ...], str]] = [
    (M, M, "same", (), "a model is the same as itself"),
    (M, {"name": "M"}, "changed", ("name",), "names tell upper from lower case"),
    (M, {"name": "m "}, "changed", ("name",), "and a space"),
    ({"name": "m-3"}, {"name": "m-4"}, "changed", ("name",), "another name is another model"),
    ({"name": "m-4-0613"}, {"name": "m-4-1106"}, "changed", ("name",), "nothing is parsed out of the name"),
    (_v("1"), {"name": "b", "version": "2"}, "changed", ("name", "version"), "both are told"),
    (M, _v(None), "same", (), "a null version is an absent one"),
    (_v("2.1"), _v("2.1"), "same", (), "the same version"),
    (_v("2.1"), _v("2.2"), "minor", ("version",), "the first number is the same"),
    (_v("2.1"), _v("3.0"), "changed", ("version",), "the first number is another"),
    (_v("v2"), _v("2.1-beta"), "minor", ("version",), "however it is written"),
    (_v("9"), _v("10"), "changed", ("version",), "numbers are compared, not texts"),
    (_v("1"), _v("01"), "minor", ("version",), "the same number, written in another way"),
    (_v("2025-08-01"), _v("2025-08-07"), "changed", ("version",), "another day is another number"),
    (_v("2025-08-01"), _v("20250801"), "minor", ("version",), "the same day, written in another way"),
    (_v("2025-08-01"), _v("2025-08-01-b"), "minor", ("version",), "the same day"),
    (_v("2025-08"), _v("2025-09"), "changed", ("version",), "another month is another number"),
    (_v("2025-08"), _v("2025-08-01"), "changed", ("version",), "a month is not a day"),
    (_v("2"), M, "changed", ("version",), "a number and none at all"),
    (_v("2"), _v("latest"), "changed", ("version",), "a number and a word"),
    (_v("latest"), M, "minor", ("version",), "neither has a number"),
    (_v("latest"), _v("stable"), "minor", ("version",), "neither has a number"),
    (_v(""), M, "minor", ("version",), "an empty version is not an absent one, and has no number"),
    (M, _p(), "same", (), "no parameters are absent parameters"),
    (M, {**M, "params": None}, "same", (), "and so are null ones"),
    (_p(x=1, y=2), _p(y=2, x=1), "same", (), "their order does not matter"),
    (_p(x=1), _p(x=1.0), "same", (), "1 is 1.0"),
    (_p(x=0.0), _p(x=-0.0), "same", (), "0 has no sign"),
    (_p(x=1), _p(x=True), "minor", ("params.x",), "true is not 1"),
    (_p(x=0), _p(x=False), "minor", ("params.x",), "nor is false 0"),
    (_p(x=[0]), _p(x=[False]), "minor", ("params.x",), "also in a list"),
    (_p(x={"y": 1}), _p(x={"y": True}), "minor", ("params.x",), "also in an object"),
    (_p(x=[1, 2]), _p(x=[2, 1]), "minor", ("params.x",), "the order of a list does matter"),
    (_p(x=[1]), _p(x=[1, 1]), "minor", ("params.x",), "and its length"),
    (_p(x={"a": 1}), _p(x={"b": 1}), "minor", ("params.x",), "and the members of an object"),
    (_p(x="1"), _p(x=1), "minor", ("params.x",), "a text is no number"),
    (_p(x=None), M, "minor", ("params.x",), "a null parameter is there"),
    (_p(b=1), _p(c=1), "minor", ("params.b", "params.c"), "each is told, sorted"),
    (_p(Temperature=1), _p(Temperature=2), "minor", ("params.Temperature",), "critical names are lower case"),
    (_p(x={"tools": 1}), _p(x={"tools": 2}), "minor", ("params.x",), "and stand at the top"),
    *(
        (_p(**{name: 1}), _p(**{name: 2}), "changed", (f"params.{name}",), f"{name} is critical")
        for name in sorted(DEFAULT_CRITICAL)
    ),
    *(
        (_p(**{name: 1}), M, "changed", (f"params.{name}",), f"{name} is critical, there or not")
        for name in sorted(DEFAULT_CRITICAL)
    ),
    (_p(tools=None), M, "changed", ("params.tools",), "also as null"),
    (_p(temperature=1), _p(temperature=1.0), "same", (), "an equal number is no difference"),
    (_p(x=1, top_p=1), _p(x=2, top_p=2), "changed", ("params.top_p", "params.x"), "the rest is told with it"),
    (
        {**_v("2.1"), "params": {"x": 1}},
        {**_v("2.2"), "params": {"x": 2}},
        "minor",
        ("version", "params.x"),
        "two minor differences are one",
    ),
    ({**M, "available": False, "label": "L"}, M, "same", (), "what is shown beside a model is no part of it"),
    ({**M, "params": [1]}, M, "changed", ("params",), "parameters that are no object differ as a whole"),
    ({**M, "params": [1]}, {**M, "params": [1]}, "same", (), "unless they are equal"),
    ({**M, "version": 2}, _v("2"), "changed", ("version",), "a version that is no text has no number to compare"),
]


@pytest.mark.parametrize(("one", "other", "result", "fields", "why"), PAIRS)
def test_models_are_compared_by_the_table(
    one: dict[str, Any], other: dict[str, Any], result: str, fields: tuple[str, ...], why: str
) -> None:
    """Each row of the table of pairs holds, in either order."""
    for old, new in ((one, other), (other, one)):
        found = compare(old, new, critical=DEFAULT_CRITICAL)
        assert (found.result, found.fields) == (result, fields), why


def test_what_is_critical_is_a_setting() -> None:
    """Another set of critical parameters takes the place of the usual ones; without any, none is critical."""
    one, other = _p(seed=1, tools=[]), _p(seed=2, tools=[])
    assert compare(one, other, critical=frozenset({"seed"})) == Difference("changed", ("params.seed",))
    assert compare(one, other, critical=frozenset()) == Difference("minor", ("params.seed",))
    hotter = compare(_p(temperature=0), _p(temperature=1), critical=frozenset({"seed"}))
    assert hotter == Difference("minor", ("params.temperature",))


def test_the_usual_critical_parameters() -> None:
    """They are the six that the interface names."""
    assert sorted(DEFAULT_CRITICAL) == [
        "max_tokens", "reasoning_effort", "system_prompt", "temperature", "tools", "top_p"
    ]  # fmt: skip


def test_nesting_and_length_have_no_bound_of_their_own() -> None:
    """What is deeper than Python's stack, or a number longer than Python reads, is compared like the rest."""
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert compare(_p(x=deep), _p(x=deep), critical=frozenset()).result == "same"
    assert compare(_p(x=deep), _p(x=[deep]), critical=frozenset()).result == "minor"
    assert compare(_v("9" * 100_000), _v("8" * 100_000), critical=frozenset()).result == "changed"
    while isinstance(deep, list):  # let go of level by level: at once would be as deep
        deep = deep[0]


TEXTS = st.text(max_size=8) | st.sampled_from([version for version, _, _ in MAJORS if version])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
PARAMS = st.dictionaries(st.sampled_from([*sorted(DEFAULT_CRITICAL), "seed", "x"]), JSON, max_size=4)
MODELS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "b"]) | JSON,
        "version": TEXTS | JSON,
        "params": PARAMS | JSON,
        "other": JSON,
    },
)


@given(one=MODELS, other=MODELS, critical=st.frozensets(st.sampled_from(["seed", "x", "tools"])))
def test_any_two_models_compare(one: dict[str, Any], other: dict[str, Any], critical: frozenset[str]) -> None:
    """For any JSON: a model is the same as itself, order does not matter, and the result follows from what differs."""
    assert compare(one, one, critical=critical) == Difference("same")
    found = compare(one, other, critical=critical)
    assert found == compare(other, one, critical=critical)
    assert (found.result == "same") is (found.fields == ())
    if "name" in found.fields or any(f"params.{name}" in found.fields for name in critical):
        assert found.result == "changed"
    bare = [{name: model.get(name) for name in ("name", "version", "params")} for model in (one, other)]
    assert compare(bare[0], bare[1], critical=critical) == found


@given(version=st.text())
def test_any_version_has_a_number_or_none(version: str) -> None:
    """The number is never negative, and there is one exactly when there is an ASCII digit."""
    number = major(version)
    assert (number is not None) is any(letter in "0123456789" for letter in version)
    assert number is None or number >= 0
