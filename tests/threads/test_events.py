"""What is told of threads, to whom, and what it amounts to."""

from typing import Any

import orjson
import pytest
from sqlalchemy import text

from sessioncast_server.db.statement import Statement
from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.threads import changes
from sessioncast_server.threads.messages import after
from sessioncast_server.threads.rules import Item, Owned
from sessioncast_server.threads.service import get_thread
from support.api import Api, problem
from support.store import PROJECT, Store
from support.threadfold import Fold
from support.threads import AFAR, MESSAGE_MEMBERS, READ_ALL, THREAD_MEMBERS, Chat, new_uuid, terms

JSON = {"Accept": "application/json"}


def poll(api: Api, project: str, **params: Any) -> dict[str, Any]:
    """An answer to a poll."""
    found: dict[str, Any] = api.ok(api.get(f"/v1/projects/{project}/events", params=params, headers=JSON), 200)
    return found


def beginning(api: Api, project: str) -> str:
    """The position before the first event."""
    return f"{api.get(f'/v1/projects/{project}').headers['X-Position'].partition(':')[0]}:0"


def own(chat: Chat, **params: Any) -> list[dict[str, Any]]:
    """All events that the user's own stream of the thread holds."""
    page = poll(chat.api, chat.project, **{"thread": chat.id, "position": beginning(chat.api, chat.project)} | params)
    assert (page["state"], page["more"]) == ("resumed", False)
    found: list[dict[str, Any]] = page["events"]
    return found


def resources(page: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """What of a kind a snapshot holds."""
    return [resource["data"] for resource in page["resources"] if resource["kind"] == kind]


def test_each_change_is_told_whole(chat: Chat) -> None:
    """One event for each change, with all of the thread as it is then, and of the message, in the order of changes."""
    chat.made(title="T")
    one, two = chat.appended("one", "two")
    chat.popped()
    chat.post("clear")
    before = chat.get()
    events = own(chat)
    chat.api.ok(chat.api.delete(chat.path), 204)
    chat.made()
    assert [event["type"] for event in events] == [
        "thread.created", "message.created", "message.created", "message.popped", "thread.pruned",
    ]  # fmt: skip
    assert [event["version"] for event in events] == [1, 2, 3, 4, 5]
    for event in events:
        members = {"position", "type", "at", "project_id", "thread_id", "version", "data"}
        assert event.keys() == members
        assert (event["project_id"], event["thread_id"]) == (chat.project, chat.id)
    created, first, second, popped, cleared = (event["data"] for event in events)
    assert created.keys() == THREAD_MEMBERS
    assert (created["title"], created["message_count"]) == ("T", 0)
    for data, message, count in ((first, one, 1), (second, two, 2), (popped, two, 1)):
        assert data.keys() == MESSAGE_MEMBERS | {"thread"}
        assert {name: data[name] for name in MESSAGE_MEMBERS} == message
        assert data["thread"].keys() == THREAD_MEMBERS
        assert data["thread"]["message_count"] == count
    assert cleared == before | {"removed": [[1, 2]], "count": 1, "reason": "cleared"}
    deleted, again = own(chat)[5:]
    assert (deleted["type"], deleted["version"]) == ("thread.deleted", 6)
    assert deleted["data"] == before | {"version": 6, "reason": "deleted"}
    assert (again["type"], again["version"]) == ("thread.created", 1)


async def test_what_is_set_aside_is_told(store: Store) -> None:
    """A message that is not what was written goes with all of its unit, in one event of reason `corrupt`."""
    name = Owned(PROJECT, "ann", new_uuid())
    items = [Item("tool", {"call_id": "a"}), Item("user", 1), Item("tool", {"call_id": "a"}), Item("user", 2)]

    def corrupt(tx: WriteTx) -> tuple[Any, list[int]]:
        changes.add(tx, new_uuid(), name, items, None, terms())
        tx.run(Statement(text("UPDATE message SET checksum = 0 WHERE seq = 3")))
        changes.take(tx, new_uuid(), name, None, terms())
        changes.take(tx, new_uuid(), name, None, terms())
        thread = get_thread(tx, name)
        return tx.staged[-2:], [message.seq for message in after(tx, thread, 0, 9, 1 << 20).messages]

    (aside, popped), left = (await store.database.write(corrupt)).value
    data = orjson.loads(aside.data)
    assert (aside.type, aside.version, aside.owner, aside.thread_id) == ("thread.quarantined", 7, "ann", name.id)
    assert data.keys() == THREAD_MEMBERS | {"removed", "count", "reason"}
    assert (data["removed"], data["count"], data["reason"]) == ([[1, 1], [3, 3]], 2, "corrupt")
    assert (popped.type, orjson.loads(popped.data)["seq"]) == ("message.popped", 2)
    assert left == []


def test_a_snapshot_and_events_are_the_thread(chat: Chat) -> None:
    """From any place on, what is told makes of a snapshot what is read: also prunings, runs and deletion."""
    chat.appended(*range(3))

    def change(number: int) -> None:
        match number:
            case 0:
                chat.popped()
            case 1:
                chat.appended(*range(250))
            case 2:
                with chat.running() as run:
                    chat.appended(*range(10), run=run)
                    chat.popped(run=run)
            case 3:
                chat.post("clear")
            case 4:
                chat.appended("last")

    folds: list[tuple[Fold, str]] = []
    for number in range(5):
        page = poll(chat.api, chat.project, thread=chat.id)
        fold = Fold()
        fold.show(page["resources"])
        fold.is_shown(chat.get(), chat.whole())
        folds.append((fold, page["position"]))
        change(number)
    for fold, position in folds:
        at, more = position, True
        while more:
            page = poll(chat.api, chat.project, thread=chat.id, position=at)
            assert page["state"] == "resumed"
            for event in page["events"]:
                fold.take(event["type"], event["version"], event["data"])
            at, more = page["position"], page["more"]
        fold.is_shown(chat.get(), chat.whole())


def test_a_project_is_told_without_threads(chat: Chat) -> None:
    """A project's stream has nothing of threads, not even one's own; with threads:read_all it has everybody's."""
    task = chat.api.ok(chat.api.post(f"/v1/projects/{chat.project}/tasks", {"title": "T"}), 201)
    chat.appended("one")
    chat.acting(sub="bob").appended("two")
    root = chat.acting(sub="root", scopes=READ_ALL).api
    since = beginning(chat.api, chat.project)
    assert [event["type"] for event in poll(chat.api, chat.project, position=since)["events"]] == ["task.created"]
    assert {one["kind"] for one in poll(chat.api, chat.project)["resources"]} == {"task"}
    for params in ({"kinds": "thread"}, {"task": task["id"], "kinds": "thread"}):
        assert poll(chat.api, chat.project, position=since, **params)["events"] == []
        assert poll(chat.api, chat.project, **params)["resources"] == []
    for params in ({}, {"kinds": "task,thread"}):
        events = poll(root, chat.project, position=since, **params)["events"]
        told = [event["data"].get("user") or event["data"]["title"] for event in events]
        assert told == ["T", "ann", "ann", "bob", "bob"]
        shown = poll(root, chat.project, **params)
        assert sorted(thread["user"] for thread in resources(shown, "thread")) == ["ann", "bob"]
        assert resources(shown, "message") == []  # a whole project's would be too many
    assert poll(root, chat.project, position=since, task=task["id"])["events"][-1]["type"] == "task.created"


def test_a_filter_names_what_one_may_see(chat: Chat) -> None:
    """A thread that is not there, or is another's only, is 404, also beside one's own; with the right it is not."""
    bob = chat.acting(sub="bob").made()
    mine = chat.beside().made()
    root = chat.acting(sub="root", scopes=READ_ALL).api
    path = f"/v1/projects/{chat.project}/events"
    for headers in (JSON, {"Accept": "text/event-stream"}):
        for ids in ([bob.id], [AFAR], [mine.id, bob.id], [mine.id, AFAR]):
            problem(chat.api.get(path, params={"thread": ids}, headers=headers), 404, "not_found")
        problem(root.get(path, params={"thread": [bob.id, AFAR]}, headers=headers), 404, "not_found")
        problem(chat.api.get(path, params={"thread": "x"}, headers=headers), 400, "bad_filter")
    assert [thread["user"] for thread in resources(poll(root, chat.project, thread=bob.id), "thread")] == ["bob"]


def test_threads_of_one_id_are_told_apart(chat: Chat) -> None:
    """Of two users' threads of one id each stream has its user's own: in snapshots, events, and when it goes on."""
    bob = chat.acting(sub="bob")
    first: dict[str, str] = {}
    for one, content in ((chat, "of ann"), (bob, "of bob")):
        one.appended(content)
        first[one.api.token] = poll(one.api, one.project, thread=one.id)["position"]
    chat.appended("more of ann")
    bob.appended("more of bob")
    for one, user in ((chat, "ann"), (bob, "bob")):
        for events in (own(one), poll(one.api, one.project, thread=one.id, position=first[one.api.token])["events"]):
            assert {event["data"]["user"] for event in events} == {user}
            assert events[-1]["data"]["content"] == f"more of {user}"
        page = poll(one.api, one.project, thread=one.id)
        assert [thread["user"] for thread in resources(page, "thread")] == [user]
        assert [message["content"] for message in resources(page, "message")] == [f"of {user}", f"more of {user}"]


def test_who_may_read_all_sees_his_own_first(chat: Chat) -> None:
    """With threads:read_all a filter means one's own thread; where there is none, everybody's of that id."""
    bob = chat.acting(sub="bob")
    chat.appended("of ann")
    bob.appended("of bob")
    root, reader = chat.acting(sub="root", scopes=READ_ALL), chat.acting(scopes=READ_ALL)
    assert {event["data"]["user"] for event in own(reader)} == {"ann"}
    assert [thread["user"] for thread in resources(poll(reader.api, chat.project, thread=chat.id), "thread")] == ["ann"]
    assert [event["data"]["user"] for event in own(root)] == ["ann", "ann", "bob", "bob"]
    shown = poll(root.api, chat.project, thread=chat.id)
    assert sorted(thread["user"] for thread in resources(shown, "thread")) == ["ann", "bob"]
    assert sorted(message["content"] for message in resources(shown, "message")) == ["of ann", "of bob"]
    assert {message["user"] for message in resources(shown, "message")} == {"ann", "bob"}


def test_filters_add_up(chat: Chat) -> None:
    """A filter of a task and a thread has both; kinds narrow it; two threads are two."""
    task = chat.api.ok(chat.api.post(f"/v1/projects/{chat.project}/tasks", {"title": "T"}), 201)
    chat.made()
    beside = chat.beside().made()
    assert [event["type"] for event in own(chat, task=task["id"])] == ["task.created", "thread.created"]
    assert [event["type"] for event in own(chat, task=task["id"], kinds="thread")] == ["thread.created"]
    assert own(chat, kinds="task") == []
    both = own(chat, thread=[chat.id, beside.id])
    assert [event["thread_id"] for event in both] == [chat.id, beside.id]


@pytest.mark.parametrize("wanted", [{}, {"kinds": "thread"}])
def test_an_unchanged_poll_is_not_sent(chat: Chat, wanted: dict[str, str]) -> None:
    """A poll's tag moves with the thread's own events only."""
    chat.made()
    path, params = f"/v1/projects/{chat.project}/events", {"thread": chat.id, **wanted}
    first = chat.api.get(path, params=params, headers=JSON)
    tag = {"If-None-Match": first.headers["etag"]}
    chat.beside().appended("elsewhere")
    chat.acting(sub="bob").appended("somebody else's")
    assert chat.api.get(path, params=params, headers=JSON | tag).status_code == 304
    chat.appended("here")
    assert chat.api.get(path, params=params, headers=JSON | tag).status_code == 200
