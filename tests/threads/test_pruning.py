"""What stays of a thread that grows, and what is told of what went."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import orjson

from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.problems import Problem
from sessioncast_server.threads import changes
from sessioncast_server.threads.messages import after, newest
from sessioncast_server.threads.rules import Item, Owned, calls_of
from sessioncast_server.threads.service import get_thread
from support.store import PROJECT, Store
from support.threads import THREAD_MEMBERS, Chat, new_uuid, said, terms

LIMIT = 4
TERMS = terms(LIMIT)
REASONING = {"type": "reasoning"}


def text(number: int = 0) -> dict[str, Any]:
    """A line of the user."""
    return {"role": "user", "content": f"line {number}"}


def asks(*calls: str) -> list[dict[str, Any]]:
    """Calls of the Responses API."""
    return [{"type": "function_call", "call_id": call} for call in calls]


def told(*calls: str) -> list[dict[str, Any]]:
    """What came of them."""
    return [{"type": "function_call_output", "call_id": call} for call in calls]


TEXTS = [text(number) for number in range(9)]
CHAT_CALLS = {"role": "assistant", "tool_calls": [{"id": "a"}, {"id": "b"}]}
CHAT_RESULTS = [{"role": "tool", "tool_call_id": call} for call in "ab"]
USES = {"role": "assistant", "content": [{"type": "text"}, {"type": "tool_use", "id": "a"}]}
RESULT_AND_USE = {
    "role": "user",
    "content": [{"type": "tool_result", "tool_use_id": "a"}, {"type": "tool_use", "id": "b"}],
}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "b"}]}
ASKED = {"type": "mcp_approval_request", "id": "a"}
APPROVED = {"type": "mcp_approval_response", "approval_request_id": "a"}


CASES: dict[str, tuple[Sequence[Any], list[int]]] = {
    "as many as may stay": (TEXTS[:4], [1, 2, 3, 4]),
    "one too many": (TEXTS[:5], [2, 3, 4, 5]),
    "many too many": (TEXTS[:9], [6, 7, 8, 9]),
    "a call and its output": ([*asks("a"), *told("a"), *TEXTS[:3]], [3, 4, 5]),
    "an output far from its call": ([*asks("a"), *TEXTS[:3], *told("a")], [2, 3, 4]),
    "parallel calls that stay": ([text(), *asks("a", "b"), *told("b", "a")], [2, 3, 4, 5]),
    "the call that goes, not the other": ([*asks("a", "b"), *told("b", "a"), text()], [2, 3, 5]),
    "both of two parallel calls": ([*asks("a", "b"), *told("b", "a"), *TEXTS[:2]], [5, 6]),
    "one message with two calls": ([CHAT_CALLS, *CHAT_RESULTS, *TEXTS[:2]], [4, 5]),
    "an output that came first": ([CHAT_RESULTS[0], CHAT_CALLS, CHAT_RESULTS[1], *TEXTS[:2]], [4, 5]),
    "a chain of calls": ([USES, RESULT_AND_USE, RESULT, *TEXTS[:2]], [4, 5]),
    "an approval": ([ASKED, text(), APPROVED, *TEXTS[:2]], [2, 4, 5]),
    "reasoning and what it leads to": ([REASONING, text(), *TEXTS[:3]], [3, 4, 5]),
    "a row of reasoning": ([REASONING, REASONING, text(), *TEXTS[:2]], [4, 5]),
    "reasoning, a call and its output": ([REASONING, *asks("a"), text(), *told("a"), text()], [3, 5]),
    "reasoning before what goes": ([*asks("a"), REASONING, *told("a"), *TEXTS[:2]], [4, 5]),
    "a row of it before what goes": ([*asks("a"), text(), REASONING, REASONING, *told("a")], [2]),
    "reasoning that leads to nothing yet": ([*TEXTS[:4], REASONING], [2, 3, 4, 5]),
    "an output without a call": ([*told("a"), *TEXTS[:4]], [2, 3, 4, 5]),
    "a long name": ([{"call_id": "x" * 65}, *TEXTS[:3], {"call_id": "x" * 65}], [2, 3, 4]),
    "a unit larger than the limit": ([*[{"call_id": "a"}] * 9], []),
}  # fmt: skip
"""What is appended at once, and what stays of it."""


async def test_what_belongs_together_goes_together(store: Store) -> None:
    """The oldest go, each with all of its unit and with nothing else; it is told how many."""

    def play(tx: WriteTx) -> None:
        for case, (items, stay) in CASES.items():
            name = Owned(PROJECT, "ann", new_uuid())
            told = len(tx.staged)
            answer = changes.add(tx, new_uuid(), name, [Item("any", item) for item in items], None, TERMS)
            thread = get_thread(tx, name)
            kept = [message.seq for message in after(tx, thread, 0, 99, 1 << 20).messages]
            assert kept == stay, case
            assert thread.message_count == len(kept), case
            gone = len(items) - len(kept)
            assert orjson.loads(answer.body)["pruned"] == gone, case
            pruned = [orjson.loads(event.data) for event in tx.staged[told:] if event.type == "thread.pruned"]
            assert [event["count"] for event in pruned] == [gone] * (gone > 0), case
            removed = {seq for event in pruned for first, last in event["removed"] for seq in range(first, last + 1)}
            assert removed == set(range(1, len(items) + 1)) - set(kept), case

    await store.database.write(play)


async def test_one_by_one_nothing_is_left_alone(store: Store) -> None:
    """Appended one by one, what stays never lacks what belonged to it and was there."""

    def play(tx: WriteTx) -> None:
        for case, (items, _) in CASES.items():
            name = Owned(PROJECT, "ann", new_uuid())
            gone: set[str] = set()
            for item in items:
                before = calls_kept(tx, name)
                changes.add(tx, new_uuid(), name, [Item("any", item)], None, TERMS)
                kept = calls_kept(tx, name)
                gone = {call for call in before if len(kept.get(call, ())) < len(before[call])}
                assert not gone & kept.keys(), case
                assert get_thread(tx, name).message_count <= LIMIT, case

    await store.database.write(play)


def calls_kept(tx: WriteTx, name: Owned) -> dict[str, list[int]]:
    """Messages by their calls."""
    found: dict[str, list[int]] = {}
    with suppress(Problem):  # not there yet
        for message in after(tx, get_thread(tx, name), 0, 99, 1 << 20).messages:
            for call in calls_of(message.parsed()["content"]):
                found.setdefault(call, []).append(message.seq)
    return found


async def test_reading_is_bounded_in_bytes(store: Store) -> None:
    """A page ends at its number or its bytes, whichever comes first, never before its first message."""
    name = Owned(PROJECT, "ann", new_uuid())

    def pages(tx: WriteTx) -> None:
        items = [Item("user", "x" * 1000) for _ in range(40)]
        changes.add(tx, new_uuid(), name, items, None, terms())
        thread = get_thread(tx, name)
        for limit, size, count in (
            (50, 1 << 20, 40),
            (40, 1 << 20, 40),
            (39, 1 << 20, 39),
            (50, 0, 1),
            (50, 10_000, 9),
        ):
            for up in (True, False):
                reading = after(tx, thread, 0, limit, size) if up else newest(tx, thread, limit, size)
                seqs = [message.seq for message in reading.messages]
                assert seqs == (list(range(1, count + 1)) if up else list(range(41 - count, 41)))
                assert reading.more == (count < 40)
                assert reading.last(newest_first=not up) == (count if up else 41 - count)

    await store.database.write(pages)


def test_the_two_hundred_and_first_takes_one(chat: Chat) -> None:
    """Outside a run 200 messages stay: the next append tells of one that went, in its answer and in an event."""
    assert chat.api.ok(chat.append(said(*range(200))), 201)["pruned"] == 0
    assert chat.api.ok(chat.append(said(200)), 201)["pruned"] == 1
    assert chat.contents() == list(range(1, 201))
    event = chat.events()[-1]
    assert (event["type"], event["version"]) == ("thread.pruned", 203)
    data = event["data"]
    assert data.keys() == THREAD_MEMBERS | {"removed", "count", "reason"}
    assert (data["removed"], data["count"], data["reason"]) == ([[1, 1]], 1, "limit")
    assert {name: data[name] for name in THREAD_MEMBERS} == chat.get()
    assert (data["message_count"], data["message_seq"]) == (200, 201)


def test_a_run_prunes_at_its_end(chat: Chat) -> None:
    """While a run lasts nothing goes; its end takes what is too many, with what belongs to it, in one event."""
    run = chat.run()
    call = {"type": "function_call", "call_id": "a"}
    output = {"type": "function_call_output", "call_id": "a"}
    for contents in ([call], list(range(100)), [output, *range(100, 200)]):
        answer = chat.append([{"role": "any", "content": content} for content in contents], run=run)
        assert chat.api.ok(answer, 201)["pruned"] == 0
    assert chat.get()["message_count"] == 202
    chat.end(run)
    assert chat.contents() == list(range(1, 200))
    (data,) = [event["data"] for event in chat.events() if event["type"] == "thread.pruned"]
    assert (data["removed"], data["count"], data["reason"]) == ([[1, 2], [102, 102]], 3, "limit")


def test_what_a_lapsed_run_left_is_pruned(chat: Chat) -> None:
    """A run that is over by its lease prunes as one that was ended does; who waited goes on after that."""
    chat.left(*range(201))
    assert chat.api.ok(chat.append(said("next"), wait_s=60), 201)["pruned"] == 1
    assert chat.contents() == [*range(2, 201), "next"]
    pruned = [event["data"]["removed"] for event in chat.events() if event["type"] == "thread.pruned"]
    assert pruned == [[[1, 1]], [[2, 2]]]


def test_clearing_is_told(chat: Chat) -> None:
    """One event tells of all that went, by ranges."""
    chat.appended(*range(5))
    chat.popped()
    chat.appended("next")
    chat.post("clear")
    data = chat.events()[-1]["data"]
    assert (data["removed"], data["count"], data["reason"]) == ([[1, 6]], 5, "cleared")
    assert {name: data[name] for name in THREAD_MEMBERS} == chat.get()
