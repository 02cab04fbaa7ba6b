"""Appending, reading, popping and clearing over HTTP."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from support.api import Api, problem
from support.chains import each
from support.threads import AFAR, MESSAGE_MEMBERS, Chat, new_uuid, said

HI = {"role": "user", "content": "hi"}
DEEP: Any = "bottom"
for _ in range(60):
    DEEP = [DEEP]
CONTENTS: list[Any] = [
    None, True, False, 0, -1, 2**63 - 1, -(2**63), 0.1, -0.0, 5e-324, 1.7976931348623157e308, 1e16, "", "x",
    "\0", "a\0b\0", "äöü 中文 😀 \u2028\ufffe\U0010ffff", "\\u0000", "\r\n\t\x7f\x1f", [], {}, [[], {}, [None]], DEEP,
    {"": "", "\0": "\0", "ä😀": 1, "a.b": {"$ref": "#"}, "__proto__": 1, "role": 7},
    {"type": "function_call", "call_id": "c" * 1000, "arguments": '{"x": "\\u0000"}'},
    {"thread_id": "mine", "seq": -1, "id": "x", "created_at": None},
]  # fmt: skip
BAD_MESSAGES = [
    *each("role", 1, "", "x" * 201, "a\0b", [], {}, True),
    *each("id", 1, "", "x", AFAR.replace("-", ""), [], {}, True),
    *each("seq", 1),
    *each("created_at", "2026-01-01T00:00:00Z"),
]
BAD_LISTS = each("messages", None, [], {}, "x", 1)
BAD = [
    *each("run", 1, "", "x", [], {}, True),
    *each("wait_s", -1, -0.001, 60.001, 61, "1", True, [], {}),
    *each("user", "bob"),
    *each("unknown", 1),
]


def test_messages_are_shown_whole(chat: Chat) -> None:
    """Each has every member and the next number; the thread they are appended to is made if it is not there."""
    answer = chat.append(said("one", "two"))
    appended = chat.api.ok(answer, 201)
    assert appended["pruned"] == 0
    assert [message.keys() for message in appended["data"]] == [MESSAGE_MEMBERS] * 2
    first, second = appended["data"]
    assert (first["seq"], second["seq"]) == (1, 2)
    assert (first["role"], first["content"], first["thread_id"]) == ("user", "one", chat.id)
    assert UUID(first["id"]) != UUID(second["id"])
    assert datetime.fromisoformat(first["created_at"]).utcoffset() is not None
    assert chat.messages()["data"] == appended["data"]
    thread = chat.get()
    assert (thread["version"], thread["message_seq"], thread["message_count"]) == (3, 2, 2)
    assert thread["last_activity_at"] == first["created_at"] == second["created_at"]


def test_any_json_comes_back_as_it_was(chat: Chat) -> None:
    """Nulls, deep lists, NUL, characters beyond the BMP, numbers to 64 bit: the same from answers, reads and events."""
    found = chat.appended(*CONTENTS)
    for told in (found, chat.whole(), [event["data"] for event in chat.events() if event["type"] == "message.created"]):
        contents = [message["content"] for message in told]
        assert json.dumps(contents) == json.dumps(CONTENTS)  # == would take -0.0 for 0, and True for 1


def test_floats_are_floats(chat: Chat) -> None:
    """A float that is whole stays a float, and a number as large as a double can be stays itself."""
    raw = b'{"messages":[{"role":"user","content":[1.0,1,1e300,1E-7,-0.0,123456789012345678]}]}'
    chat.api.ok(chat.api.post(f"{chat.path}/messages", content=raw), 201)
    text = chat.api.get(f"{chat.path}/messages").text
    assert '"content":[1.0,1,1e+300,1e-7,-0.0,123456789012345678]' in text.replace("1e300", "1e+300")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"NaN", 400, "bad_json"),
        (b"Infinity", 400, "bad_json"),
        (b"1e400", 400, "bad_json"),
        (b"9223372036854775808", 400, "bad_json"),
        (b'{"a":1,"a":2}', 400, "bad_json"),
        (b'"\\ud800"', 400, "bad_unicode"),
        (b'"\xff"', 400, "bad_unicode"),
        (b"[" * 62 + b"]" * 62, 400, "too_deep"),
        (b'"' + b"x" * (1 << 20) + b'"', 413, "too_large"),
    ],
)
def test_what_is_no_json_of_ours(chat: Chat, content: bytes, status: int, code: str) -> None:
    """What JSON cannot say, or says ambiguously, or too deep or too large, is refused, and no thread is made."""
    raw = b'{"messages":[{"role":"user","content":"fine"},{"role":"user","content":' + content + b"}]}"
    problem(chat.api.post(f"{chat.path}/messages", content=raw), status, code)
    problem(chat.api.get(chat.path), 404, "not_found")


def test_a_mebibyte_fits(chat: Chat) -> None:
    """A body of exactly 1 MiB is taken, one byte more is not."""
    head, tail = b'{"messages":[{"role":"user","content":"', b'"}]}'
    text = b"x" * ((1 << 20) - len(head) - len(tail))
    problem(chat.api.post(f"{chat.path}/messages", content=head + text + b"x" + tail), 413, "too_large")
    chat.api.ok(chat.api.post(f"{chat.path}/messages", content=head + text + tail), 201)
    assert chat.messages()["data"][0]["content"] == text.decode()


@pytest.mark.parametrize(
    ("message", "role"),
    [
        ({"content": {"role": "system", "content": "x"}}, "system"),
        ({"content": {"type": "message"}}, "assistant"),
        ({"content": {"type": "function_call_output", "call_id": "a"}}, "tool"),
        ({"role": "critic", "content": {"role": "user"}}, "critic"),
        ({"role": "x" * 200, "content": None}, "x" * 200),
        ({"role": None, "content": {"role": "user"}}, "user"),
        ({"role": "ä\n😀", "content": 1}, "ä\n😀"),
    ],
)
def test_roles_are_given_or_said(chat: Chat, message: dict[str, Any], role: str) -> None:
    """A role may be any text; left out, the content says it."""
    (found,) = chat.api.ok(chat.append([message]), 201)["data"]
    assert found["role"] == role
    assert found["content"] == message["content"]


@pytest.mark.parametrize(
    "content",
    ["hi", 1, None, [], {}, ["role"], {"role": ""}, {"role": 1}, {"role": "a\0b"}, {"role": "x" * 201}, {"type": None}],
)
def test_a_role_is_needed(chat: Chat, content: Any) -> None:
    """Where neither says it, or what says it cannot be one, it is 422 and nothing is appended."""
    found = problem(chat.append([HI, {"content": content}]), 422, "invalid")
    assert found["errors"][0]["field"] == "messages.1"
    assert "role" in found["detail"]
    problem(chat.api.get(chat.path), 404, "not_found")


def test_content_is_needed(chat: Chat) -> None:
    """A message without content is 422; null is a content."""
    found = problem(chat.append([{"role": "user"}]), 422, "invalid")
    assert found["errors"][0]["field"] == "messages.0.content"
    chat.api.ok(chat.append([{"role": "user", "content": None}]), 201)


def test_bad_fields_are_named(chat: Chat) -> None:
    """What a request or a message cannot have is 422 that names the field, and nothing is appended."""
    for bad in BAD_LISTS + BAD:
        found = problem(chat.api.post(f"{chat.path}/messages", {"messages": [HI]} | bad), 422, "invalid")
        assert found["errors"][0]["field"] == next(iter(bad)), bad
    for bad in BAD_MESSAGES:
        found = problem(chat.append([HI, HI | bad]), 422, "invalid")
        assert found["errors"][0]["field"] == f"messages.1.{next(iter(bad))}", bad
    problem(chat.append(["x"]), 422, "invalid")  # type: ignore[list-item]  # what is no message
    chat.made()
    for what in ("pop", "clear"):
        for bad in BAD:
            found = problem(chat.api.post(f"{chat.path}/{what}", bad), 422, "invalid")
            assert found["errors"][0]["field"] == next(iter(bad)), bad
    assert chat.get()["version"] == 1


def test_a_thousand_at_once(chat: Chat) -> None:
    """1,000 messages are appended together, of which the newest 200 stay; 1,001 are 422."""
    problem(chat.append(said(*range(1001))), 422, "invalid")
    appended = chat.api.ok(chat.append(said(*range(1000))), 201)
    assert [message["content"] for message in appended["data"]] == list(range(1000))
    assert appended["pruned"] == 800
    assert chat.contents() == list(range(800, 1000))
    thread = chat.get()
    assert (thread["message_count"], thread["message_seq"]) == (200, 1000)


def test_ids_are_appended_once(chat: Chat) -> None:
    """A message of an id that is there already is shown as it is, with its place; the others are appended."""
    one, two = new_uuid(), new_uuid().upper()
    first = chat.api.ok(chat.append([HI | {"id": one}, HI]), 201)["data"]
    assert first[0]["id"] == one
    again = [HI | {"id": one, "content": "other"}, HI | {"id": two, "content": "new"}, HI | {"id": two, "content": "x"}]
    found = chat.api.ok(chat.append(again), 201)["data"]
    assert found[0] == first[0]
    assert found[1] == found[2]
    assert (found[1]["id"], found[1]["seq"], found[1]["content"]) == (two.lower(), 3, "new")
    before = chat.get()
    nothing = chat.append([HI | {"id": one}])
    assert chat.api.ok(nothing, 201)["data"] == [first[0]]
    assert "x-position" not in nothing.headers
    assert chat.get() == before


def test_an_id_that_went_may_come_again(chat: Chat) -> None:
    """Ids are those of messages that are there: one that was popped is appended again, at a new place."""
    one = HI | {"id": new_uuid()}
    chat.api.ok(chat.append([one]), 201)
    chat.popped()
    (again,) = chat.api.ok(chat.append([one]), 201)["data"]
    assert (again["id"], again["seq"]) == (one["id"], 2)


def test_an_id_is_a_threads_own(chat: Chat) -> None:
    """Another thread, and another user, may have a message of the same id."""
    one = HI | {"id": new_uuid()}
    for where in (chat, chat.beside(), chat.acting(sub="bob")):
        (found,) = chat.api.ok(where.append([one]), 201)["data"]
        assert (found["id"], found["seq"], found["thread_id"]) == (one["id"], 1, where.id)


def test_messages_have_pages(chat: Chat) -> None:
    """Ascending from any number or descending from the newest, pages hold each message once; 50 unless it is said."""
    chat.appended(*range(1, 121))
    for _ in range(3):
        chat.popped()
    chat.appended("last")
    numbers = [*range(1, 118), 121]
    first = chat.messages()
    assert ([message["seq"] for message in first["data"]], first["next"]) == (numbers[:50], "50")
    for order, expected in (("asc", numbers), ("desc", numbers[::-1])):
        for limit in (1, 59, 118, 119, 200):
            if limit == 1:
                page = chat.messages(order=order, limit=1)
                assert ([m["seq"] for m in page["data"]], page["next"]) == (expected[:1], str(expected[0]))
                continue
            found: list[int] = []
            after: dict[str, str] = {}
            while True:
                page = chat.messages(order=order, limit=limit, **after)
                found += [message["seq"] for message in page["data"]]
                if page["next"] is None:
                    break
                assert page["next"] == str(found[-1])
                after = {"after": page["next"]}
            assert found == expected
    assert [message["seq"] for message in chat.messages(after="117")["data"]] == [121]
    assert chat.messages(after="121") == chat.messages(after="9" * 18) == {"data": [], "next": None}
    assert chat.messages(order="desc", after="1") == {"data": [], "next": None}
    assert [m["seq"] for m in chat.messages(order="desc", after="000121", limit=1)["data"]] == [117]


@pytest.mark.parametrize(
    "bad",
    [
        {"limit": 0}, {"limit": 201}, {"limit": "x"}, {"order": "ASC"}, {"order": ""}, {"after": "-1"}, {"after": "x"},
        {"after": "1" * 19}, {"after": ""}, {"after": "1\n"}, {"after": "١"}, {"unknown": 1}, {"user": "x" * 201},
    ],
)  # fmt: skip
def test_bad_parameters_are_named(api: Api, bad: dict[str, Any]) -> None:
    """What a page cannot be asked for by is 422 that names the parameter."""
    chat = Chat(api, "no-such", AFAR)
    found = problem(api.get(f"{chat.path}/messages", params=bad), 422, "invalid")
    assert found["errors"][0]["field"] == next(iter(bad))


def test_an_empty_thread_has_no_messages(chat: Chat) -> None:
    """A thread that was made and nothing more has an empty page, and nothing to take away."""
    chat.made()
    assert chat.messages() == chat.messages(order="desc") == {"data": [], "next": None}
    answer = chat.post("pop")
    assert chat.api.ok(answer, 200) == {"message": None}
    assert "x-position" not in answer.headers
    assert chat.api.ok(chat.post("clear"), 200) == chat.get()
    assert chat.get()["version"] == 1


def test_the_newest_is_popped(chat: Chat) -> None:
    """One after another, newest first, each as it was; numbers are not used again."""
    one, two = chat.appended("one", "two")
    assert chat.popped() == two
    assert chat.contents() == ["one"]
    thread = chat.get()
    assert (thread["version"], thread["message_seq"], thread["message_count"]) == (4, 2, 1)
    assert [message["seq"] for message in chat.appended("three")] == [3]
    assert chat.popped()["content"] == "three"
    assert chat.popped() == one
    assert chat.popped() is None
    assert chat.get()["message_count"] == 0


def test_cleared_it_is_empty(chat: Chat) -> None:
    """All messages go at once; title, number and what is appended afterwards go on."""
    chat.made(title="T")
    chat.appended(*range(5))
    thread = chat.api.ok(chat.post("clear"), 200)
    assert (thread["message_count"], thread["message_seq"], thread["title"], thread["version"]) == (0, 5, "T", 7)
    assert chat.get() == thread
    assert chat.contents() == []
    assert chat.popped() is None
    assert [message["seq"] for message in chat.appended("next")] == [6]


def test_stats_say_how_large_and_how_old(chat: Chat) -> None:
    """Count of messages, age, last activity and expiry, and nothing else."""
    chat.appended("one", "two")
    stats = chat.api.ok(chat.api.get(f"{chat.path}/stats"), 200)
    thread = chat.get()
    assert stats.keys() == {"count", "age_s", "last_activity_at", "expires_at"}
    assert stats["count"] == 2
    assert isinstance(stats["age_s"], float)
    assert stats["age_s"] >= 0
    assert (stats["last_activity_at"], stats["expires_at"]) == (thread["last_activity_at"], thread["expires_at"])
    assert chat.api.ok(chat.api.get(f"{chat.path}/stats"), 200)["age_s"] >= stats["age_s"]


def test_reading_is_no_activity(chat: Chat) -> None:
    """Only what changes a thread keeps it alive: reads, and what appends nothing, leave it as it is."""
    one = HI | {"id": new_uuid()}
    chat.api.ok(chat.append([one]), 201)
    before = chat.get()
    chat.messages()
    chat.api.get(f"{chat.path}/stats")
    chat.api.ok(chat.append([one]), 201)
    assert chat.get() == before
    chat.popped()
    assert chat.get()["last_activity_at"] > before["last_activity_at"]
