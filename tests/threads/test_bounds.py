"""Threads larger than what is read of them at a time."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from sessioncast_server.app import Application
from sessioncast_server.settings import load
from support.api import SECRET, Api
from support.chat import Talk
from support.node import PATIENT
from support.threads import READ_ALL

_URL = "http://localhost"
_SETTINGS = {
    "SESSIONCAST_JWT_SECRET": SECRET,
    "SESSIONCAST_THREAD_READ_MAX_BYTES": "5000",
    "SESSIONCAST_SNAPSHOT_MAX_BYTES": "20000",
    "SESSIONCAST_REPLAY_MAX_BYTES": "20000",
    "SESSIONCAST_RESPONDER": "support.threadresponders:respond",
}
BIG = "x" * 1000


@pytest.fixture
def talk(sqlite_url: str) -> Iterator[Talk]:
    """A thread that is not there yet, on a node of its own in the test's process."""
    settings = {**PATIENT, **_SETTINGS, "SESSIONCAST_DATABASE_URL": sqlite_url}
    with TestClient(Application(load(settings)).asgi, base_url=_URL) as client:
        yield Talk.begin(Api(_URL, database="sqlite", shared=client))


def poll(talk: Talk, api: Api | None = None, **params: Any) -> dict[str, Any]:
    """An answer to a poll of the thread."""
    api = api or talk.api
    path = f"/v1/projects/{talk.project}/events"
    answer = api.get(path, params={"thread": talk.id, **params}, headers={"Accept": "application/json"})
    found: dict[str, Any] = api.ok(answer, 200)
    return found


def test_pages_are_bounded_in_bytes(talk: Talk) -> None:
    """A page holds fewer messages than its limit where they are large, at least one, and `next` leads to the rest."""
    talk.appended(*(BIG for _ in range(12)), "y" * 20_000, "last")
    for order in ("asc", "desc"):
        pages: list[list[int]] = []
        after: dict[str, str] = {}
        while True:
            page = talk.messages(order=order, limit=200, **after)
            pages.append([message["seq"] for message in page["data"]])
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        whole = [seq for seq_page in pages for seq in seq_page]
        assert whole == sorted(range(1, 15), reverse=order == "desc")
        assert all(pages)
        assert max(map(len, pages)) <= 6


def test_a_responder_is_told_the_newest(talk: Talk) -> None:
    """Of a large thread who answers is told the newest messages that fit, in order; a chat is shown the same."""
    talk.appended(*(BIG for _ in range(12)), "last")
    said = json.loads(talk.say("know"))[3]
    seqs = [line[2] for line in said]
    assert 1 < len(seqs) < 7
    assert seqs == list(range(14 - len(seqs), 14))
    talk.appended(*(BIG for _ in range(12)))
    shown = [message["seq"] for message in talk.shown()["messages"]]
    assert 1 < len(shown) < 7
    assert shown == list(range(28 - len(shown), 28))


def test_a_thread_too_large_for_a_snapshot_says_what_to_read(talk: Talk) -> None:
    """Where a thread does not fit into a snapshot, that says so, with the path where its messages are; events go on."""
    talk.appended(*(BIG for _ in range(30)))
    page = poll(talk)
    assert (page["resources"], page["too_large"]) == ([], True)
    (path,) = page["read"]
    assert talk.api.ok(talk.api.get(path), 200)["data"][0]["seq"] == 1
    talk.appended("after")
    (event,) = poll(talk, position=page["position"])["events"]
    assert event["data"]["content"] == "after"


def test_what_to_read_of_anothers_thread(talk: Talk) -> None:
    """Who may read all threads is led to the messages of another's."""
    talk.appended(*(BIG for _ in range(30)))
    root = talk.acting(sub="root", scopes=READ_ALL).api
    page = poll(talk, root)
    assert page["too_large"] is True
    assert [talk.api.ok(root.get(path), 200)["data"][0]["seq"] for path in page["read"]] == [1]
