"""A message that is not what was written is set aside, told and counted; the thread goes on without it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from support.chains import figures
from support.chat import CALL, OUTPUT, Talk
from support.chatmodel import told
from support.chatnode import House, house_of, key_of
from support.chatwatcher import Watcher
from support.threads import new_uuid
from support.waiting import wait_until

SECRET = "the-well-kept-secret"
THIRD = "DEADBEEF"
_ROW = "WHERE thread_key = ? AND seq = ?"
REASONING = {"type": "reasoning", "id": "r1", "summary": []}

pytestmark = pytest.mark.xdist_group("corrupt threads")  # they share nodes


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A node on each database, whose responder tells all that it knows; its log never holds what was said."""
    with house_of(request, tmp_path_factory, request.param, responder="teller") as found:
        yield found
        assert SECRET not in found.log()


def filled(house: House, ids: list[str] | None = None) -> Talk:
    """A thread with five messages."""
    talk = house.talk()
    named = ids or [new_uuid() for _ in range(5)]
    lines = [{"role": "user", "content": f"{SECRET} {number}", "id": id_} for number, id_ in enumerate(named, 1)]
    talk.api.ok(talk.append(lines), 201)
    return talk


def change(house: House, talk: Talk, seq: int, what: str, *params: Any) -> None:
    """Change a stored message."""
    assert len(house.stored.run(f"UPDATE message SET {what} {_ROW} RETURNING seq", *params, key_of(talk), seq)) == 1


def aside(house: House, talk: Talk) -> list[tuple[int, bytes]]:
    """What is in quarantine of a thread, with its `seq`."""
    sql = "SELECT seq, body, project_id, thread_id, user_id FROM message_quarantine WHERE thread_key = ? ORDER BY seq"
    rows = house.stored.run(sql, key_of(talk))
    assert {tuple(row[2:]) for row in rows} <= {(talk.project, talk.id, "ann")}
    return [(row[0], bytes(row[1])) for row in rows]


def removed(house: House) -> tuple[float, int]:
    """How many messages the node has set aside, by its metrics and by its log."""
    lines = [line for line in house.log().splitlines() if "messages quarantined" in line]
    counts = [int(found[1]) for line in lines if (found := re.search(r'"count":(\d+)', line))]
    return figures(house.api).get(("thread_messages_removed_total", "corrupt"), 0), sum(counts)


def is_told(watcher: Watcher, gone: list[list[int]], left: int) -> None:
    """The watcher was told once of what went, and of the thread without it."""
    (event,) = watcher.sees("thread.quarantined")
    data = event["data"]
    count = sum(last - first + 1 for first, last in gone)
    assert (data["removed"], data["count"], data["reason"]) == (gone, count, "corrupt")
    assert (data["message_count"], data["version"]) == (left, event["version"])


def broken(house: House, talk: Talk, seq: int) -> None:
    """Not even JSON."""
    change(house, talk, seq, "body = ?", b'{"id":"' + bytes.fromhex(THIRD))


def other(house: House, talk: Talk, seq: int) -> None:
    """A right message, but not the one that was written."""
    (body,) = house.stored.run(f"SELECT body FROM message {_ROW}", key_of(talk), seq)[0]
    change(house, talk, seq, "body = ?", bytes(body).replace(SECRET.encode(), SECRET[::-1].encode()))


def moved(house: House, talk: Talk, seq: int) -> None:
    """Another message of the thread, with its checksum."""
    params = (key_of(talk), seq - 1)
    parts = (f"{name} = (SELECT {name} FROM message WHERE thread_key = ? AND seq = ?)" for name in ("body", "checksum"))
    change(house, talk, seq, ", ".join(parts), *params, *params)


def summed(house: House, talk: Talk, seq: int) -> None:
    """The message with another checksum."""
    change(house, talk, seq, "checksum = checksum + 1")


def nothing(house: House, talk: Talk, seq: int) -> None:
    """Empty."""
    change(house, talk, seq, "body = ?, checksum = 0", b"")


def text(house: House, talk: Talk, seq: int) -> None:
    """Text that is not UTF-8, where bytes should be; SQLite lets it."""
    change(house, talk, seq, "body = CAST(x'7bff80fe' AS TEXT)")


def number(house: House, talk: Talk, seq: int) -> None:
    """A number where bytes should be, and text where a number should be."""
    change(house, talk, seq, "body = 17, checksum = 'many'")


def test_what_is_not_what_was_written_is_set_aside(house: House) -> None:
    """Whatever became of it: the list leaves it out, it is kept apart as it was found, told to who watches, counted,
    and logged without its text; the others keep their numbers."""
    typeless = [text, number] if house.stored.kind == "sqlite" else []  # PostgreSQL's columns have types
    for corrupt in (broken, other, moved, summed, nothing, *typeless):
        talk = filled(house)
        counted, logged = removed(house)
        with Watcher(talk.api, talk.project, talk.id) as watcher:
            corrupt(house, talk, 3)
            (found,) = house.stored.run(f"SELECT CAST(body AS {blob(house)}) FROM message {_ROW}", key_of(talk), 3)[0]
            assert talk.contents() == [f"{SECRET} {number}" for number in (1, 2, 4, 5)], corrupt.__name__
            is_told(watcher, [[3, 3]], 4)
        assert aside(house, talk) == [(3, bytes(found))]
        wait_until(lambda: removed(house) == (counted + 1, logged + 1), "it to be counted")  # noqa: B023  at once
        assert talk.appended("later")[0]["seq"] == 6
        assert [message["seq"] for message in talk.whole()] == [1, 2, 4, 5, 6]
        assert talk.get()["message_count"] == 5
        assert len([event for event in talk.own_events() if event["type"] == "thread.quarantined"]) == 1


def blob(house: House) -> str:
    """What a database calls bytes."""
    return "BLOB" if house.stored.kind == "sqlite" else "bytea"


def test_whoever_meets_it_goes_on(house: House) -> None:
    """A chat's page, a line, a pop, an append of the same id and a snapshot find it, each for itself: all are answered
    from what is right, and it is set aside."""

    def show(talk: Talk) -> None:
        assert [message["seq"] for message in talk.shown()["messages"]] == [1, 2, 4, 5]

    def line(talk: Talk) -> None:
        said = [f"{SECRET} {number}" for number in (1, 2, 4, 5)]
        assert talk.say("a line") == told("ann", talk.id, "a line", said)

    def newest_first(talk: Talk) -> None:
        page = talk.messages(order="desc", limit=2, after="5")
        assert [message["seq"] for message in page["data"]] in ([4], [4, 2])

    def snapshot(talk: Talk) -> None:
        with Watcher(talk.api, talk.project, talk.id) as late:
            seqs = [one["data"]["seq"] for one in late.resources if one["kind"] == "message"]
            assert seqs == [1, 2, 4, 5]

    for meet in (show, line, newest_first, snapshot):
        talk = filled(house)
        with Watcher(talk.api, talk.project, talk.id) as watcher:
            broken(house, talk, 3)
            meet(talk)
            is_told(watcher, [[3, 3]], watcher.sees("thread.quarantined")[0]["data"]["message_count"])
        assert [seq for seq, _ in aside(house, talk)] == [3]


def test_a_pop_passes_it(house: House) -> None:
    """Where the newest messages are corrupt, a pop sets them aside and takes the newest that is right."""
    talk = filled(house)
    for seq in (4, 5):
        broken(house, talk, seq)
    assert talk.popped()["seq"] == 3
    assert [seq for seq, _ in aside(house, talk)] == [4, 5]
    types = [event["type"] for event in talk.own_events()]
    assert types[-3:] == ["thread.quarantined", "thread.quarantined", "message.popped"]
    assert talk.get()["message_count"] == len(talk.whole()) == 2
    for seq in (1, 2):
        broken(house, talk, seq)
    assert talk.popped() is None
    assert talk.get()["message_count"] == 0


def test_its_id_may_come_again(house: House) -> None:
    """Who appends with the id of a corrupt message does not meet it: the message is there once more, as the newest."""
    ids = [new_uuid() for _ in range(5)]
    talk = filled(house, ids)
    broken(house, talk, 3)
    again = {"role": "user", "content": "as it was", "id": ids[2]}
    (message,) = talk.api.ok(talk.append([again]), 201)["data"]
    assert (message["seq"], message["id"], message["content"]) == (6, ids[2], "as it was")
    assert [seq for seq, _ in aside(house, talk)] == [3]
    assert talk.whole()[-1] == message


@pytest.mark.parametrize(
    ("corrupt", "gone"), [(2, [[2, 4]]), (3, [[2, 4]]), (4, [[2, 4]])], ids=["reasoning", "call", "output"]
)
def test_what_belongs_to_it_goes_with_it(house: House, corrupt: int, gone: list[list[int]]) -> None:
    """A call, its output and the reasoning before it are set aside together, whichever of them is corrupt."""
    talk = house.talk()
    items = [{"role": "user", "content": "add"}, REASONING, CALL, OUTPUT, {"role": "user", "content": "thanks"}]
    talk.api.ok(talk.append([{"content": item} for item in items]), 201)
    with Watcher(talk.api, talk.project, talk.id) as watcher:
        broken(house, talk, corrupt)
        talk.shown()
        is_told(watcher, gone, 2)
    assert [seq for seq, _ in aside(house, talk)] == [2, 3, 4]
    assert [message["seq"] for message in talk.whole()] == [1, 5]
    talk.api.ok(talk.append([{"content": item} for item in (CALL, OUTPUT)]), 201)
    assert [message["seq"] for message in talk.whole()] == [1, 5, 6, 7]


def test_a_deleted_thread_leaves_nothing_aside(house: House) -> None:
    """What was set aside goes with the thread."""
    talk = filled(house)
    broken(house, talk, 5)
    assert talk.popped()["seq"] == 4
    assert len(aside(house, talk)) == 1
    talk.api.ok(talk.api.delete(talk.path), 204)
    assert aside(house, talk) == []
