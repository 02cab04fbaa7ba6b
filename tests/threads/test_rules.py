"""The rules of threads, by plain calls."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessioncast_server.threads.rules import (
    Owned,
    calls_of,
    checksum,
    expires_at,
    intact,
    joined,
    leads,
    ranges,
    role_of,
)

ID = "01234567-89ab-4def-8123-456789abcdef"
LONG = "call_" + "x" * 60

users = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=20)
projects = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
uuids = st.uuids().map(str)
names = st.builds(Owned, projects, users, uuids)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "role", "call_id", "tool_calls", "content", "id", "tool_use_id", "x"]), inner
    ),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.parametrize(
    ("content", "role"),
    [
        ({"role": "user", "content": "hi"}, "user"),
        ({"role": "assistant", "type": "message"}, "assistant"),
        ({"role": "developer", "type": "function_call_output"}, "developer"),
        ({"type": "message"}, "assistant"),
        ({"type": "reasoning"}, "assistant"),
        ({"type": "function_call"}, "assistant"),
        ({"type": "function_call_output"}, "tool"),
        ({"type": "computer_call_output"}, "tool"),
        ({"type": "mcp_approval_response"}, "tool"),
        ({"type": "mcp_approval_request"}, "assistant"),
        ({"type": "output"}, "assistant"),
        ({"role": ""}, ""),
        ({"role": 1, "type": "x_output"}, "tool"),
        ({"role": None}, None),
        ({"type": 1}, None),
        ({}, None),
        ("user", None),
        (["role"], None),
        (None, None),
    ],
)
def test_items_say_their_role(content: Any, role: str | None) -> None:
    """By `role`; where there is none by `type`, which is the tool's for what came of a call; else not at all."""
    assert role_of(content) == role


@pytest.mark.parametrize(
    ("content", "calls"),
    [
        ({"type": "function_call", "id": "fc_1", "call_id": "call_1"}, {"call_1"}),
        ({"type": "function_call_output", "call_id": "call_1", "output": "4"}, {"call_1"}),
        ({"type": "computer_call_output", "call_id": "call_2"}, {"call_2"}),
        ({"type": "mcp_approval_request", "id": "mcpr_1"}, {"mcpr_1"}),
        ({"type": "mcp_approval_response", "approval_request_id": "mcpr_1"}, {"mcpr_1"}),
        ({"role": "assistant", "tool_calls": [{"id": "a"}, {"id": "b"}]}, {"a", "b"}),
        ({"role": "tool", "tool_call_id": "a", "content": "1"}, {"a"}),
        ({"role": "assistant", "content": [{"type": "text"}, {"type": "tool_use", "id": "toolu_1"}]}, {"toolu_1"}),
        ({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "id": "no"}]}, {"toolu_1"}),
        ({"type": "message", "id": "msg_1", "content": [{"type": "output_text", "id": "x"}]}, set()),
        ({"type": "reasoning", "id": "rs_1"}, set()),
        ({"call_id": ""}, set()),
        ({"call_id": 7, "tool_calls": "a", "content": {"type": "tool_use", "id": "x"}}, set()),
        ({"tool_calls": [1, "a", None, {"id": None}, {}]}, set()),
        ("call_1", set()),
        ([{"call_id": "a"}], set()),
        (None, set()),
    ],
)
def test_calls_and_what_comes_of_them_have_one_name(content: Any, calls: set[str]) -> None:
    """In the items of Responses, chat completions and Anthropic's messages, and in approvals; ids of items are none."""
    assert calls_of(content) == calls


@pytest.mark.parametrize("call", [LONG, LONG + "y", "a\0b", "\0", "ä" * 65, "x" * 100_000])
def test_a_call_of_any_name_can_be_kept(call: str) -> None:
    """What a column cannot hold has a stand-in of 64 characters, the same wherever it stands, another for another."""
    (found,) = calls_of({"call_id": call})
    assert len(found) <= 64
    assert "\0" not in found
    assert calls_of({"tool_call_id": call}) == {found}
    assert calls_of({"call_id": f"{call}!"}) != {found}
    assert calls_of({"call_id": call[:-1]}) != {found}


def test_names_that_fit_stay() -> None:
    """A name of 64 characters is kept as it is."""
    assert calls_of({"call_id": "x" * 64}) == {"x" * 64}


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ({"type": "reasoning", "id": "rs_1"}, True),
        ({"type": "message"}, False),
        ({"type": ["reasoning"]}, False),
        ({"role": "reasoning"}, False),
        ("reasoning", False),
        (None, False),
    ],
)
def test_reasoning_leads_to_what_comes_after_it(content: Any, answer: bool) -> None:
    """Reasoning is worth nothing alone; nothing else leads."""
    assert leads(content) is answer


@given(json_values)
def test_any_item_has_rules(content: Any) -> None:
    """Whatever JSON an item is, its role is a text or none, and its calls fit into a column."""
    assert isinstance(role_of(content), str | None)
    assert all(0 < len(call) <= 64 and "\0" not in call for call in calls_of(content))
    assert leads(content) in (True, False)


calls = st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abcdef")), max_size=15)


@given(calls, st.sets(st.integers(0, 12), max_size=3), st.sets(st.sampled_from("abcdef"), max_size=2))
@example([(1, "a"), (2, "a"), (2, "b"), (3, "b"), (4, "c")], {1}, set())
def test_units_go_as_wholes(rows: list[tuple[int, str]], lost: set[int], lost_calls: set[str]) -> None:
    """Nothing that stays shares a call with what goes; what goes leads, call by call, to what had to go."""
    gone = joined(rows, lost, lost_calls)
    calls_gone = {call for seq, call in rows if seq in gone} | lost_calls
    assert lost <= gone
    assert gone <= lost | {seq for seq, _ in rows}
    assert not [seq for seq, call in rows if seq not in gone and call in calls_gone]
    # From what had to go, step by step: nothing else is reached, so nothing else may have gone.
    reached, found = set(lost), set(lost_calls)
    for _ in rows:
        found |= {call for seq, call in rows if seq in reached}
        reached |= {seq for seq, call in rows if call in found}
    assert gone == reached


@given(st.sets(st.integers(-5, 40)))
def test_ranges_are_the_numbers(seqs: set[int]) -> None:
    """Ranges rise, hold these numbers and no others, and none touches the next."""
    found = ranges(seqs)
    assert [seq for first, last in found for seq in range(first, last + 1)] == sorted(seqs)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(found))


def test_of_nothing_there_are_no_ranges() -> None:
    """No numbers, no ranges; one number is a range of its own."""
    assert ranges([]) == []
    assert ranges([7]) == [[7, 7]]


bodies = st.binary(min_size=1, max_size=60)


@given(bodies, st.integers(1, 2**40), st.data())
def test_a_flipped_bit_is_seen(body: bytes, seq: int, data: st.DataObject) -> None:
    """A message is what was written only with every bit of it, at its place, in its thread, with its checksum."""
    kept = checksum(ID, seq, body)
    assert 0 <= kept < 2**32
    assert intact(ID, seq, body, kept)
    at = data.draw(st.integers(0, len(body) * 8 - 1))
    flipped = bytearray(body)
    flipped[at // 8] ^= 1 << at % 8
    assert not intact(ID, seq, bytes(flipped), kept)
    assert not intact(ID, seq + 1, body, kept)
    assert not intact(ID[:-1] + "0", seq, body, kept)
    assert not intact(ID, seq, body, kept ^ 1)


@pytest.mark.parametrize("body", [None, "{}", 1, bytearray(b"{}")])
def test_what_is_no_bytes_is_not_intact(body: Any) -> None:
    """Where a database gives back another type, the message is not what was written."""
    assert not intact(ID, 1, body, checksum(ID, 1, b"{}"))
    assert not intact(ID, 1, b"{}", None)


@given(names, names)
def test_a_key_stands_for_all_three(one: Owned, other: Owned) -> None:
    """Two names have one key only if project, user and id are the same."""
    assert (one.key == other.key) == (one == other)
    assert len(one.key) == 36


@pytest.mark.parametrize(
    "other",
    [
        Owned("p-x", "ann", ID),
        Owned("p", "Ann", ID),
        Owned("p", "ann ", ID),
        Owned("p", "ann", ID[:-1] + "0"),
        Owned("pann", "", ID),
        Owned("p", f"ann{ID}", ID),
        Owned("p", "ann\u0301", ID),
        Owned("p", "a\u200dnn", ID),
    ],
)
def test_who_looks_alike_is_somebody_else(other: Owned) -> None:
    """Neither case, blanks, combining marks nor names put together make one user another."""
    assert other.key != Owned("p", "ann", ID).key


def test_it_expires_after_its_last_activity() -> None:
    """A thread is kept as long as is said from the last thing that was done with it."""
    at = datetime(2026, 2, 27, 23, tzinfo=UTC)
    assert expires_at(at, timedelta(days=7)) == datetime(2026, 3, 6, 23, tzinfo=UTC)
