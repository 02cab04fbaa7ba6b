"""What a node counts of threads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from sessioncast_server.app import Application
from sessioncast_server.settings import load
from support.api import SECRET, Api, problem
from support.chat import Talk
from support.node import PATIENT
from support.threads import READ_ALL, keyed, new_uuid, said
from support.waiting import wait_until

_URL = "http://localhost"


@pytest.fixture
def talk(sqlite_url: str) -> Iterator[Talk]:
    """A thread that is not there yet, on a node of its own in the test's process."""
    settings = {
        "SESSIONCAST_DATABASE_URL": sqlite_url,
        "SESSIONCAST_JWT_SECRET": SECRET,
        "SESSIONCAST_THREAD_MAX_MESSAGES": "3",
        "SESSIONCAST_RESPONDER": "support.threadresponders:respond",
        "SESSIONCAST_LEASE_LOOK_S": "0.05",
    }
    with TestClient(Application(load({**PATIENT, **settings})).asgi, base_url=_URL) as client:
        yield Talk.begin(Api(_URL, database="sqlite", shared=client))


def counted(api: Api) -> dict[str, float]:
    """All that is counted of threads and not zero, by name and label."""
    families = text_string_to_metric_families(api.http.get(f"{api.url}/metrics").text)
    return {
        " ".join([sample.name.removeprefix("sessioncast_"), *sample.labels.values()]): sample.value
        for family in families
        if "thread" in family.name
        for sample in family.samples
        if sample.value and not sample.name.endswith(("_created", "_bucket", "_sum"))
    }


def test_what_becomes_of_threads_is_counted(talk: Talk) -> None:
    """Threads made and deleted, messages that came, and those that went by why; a repetition counts for nothing."""
    assert counted(talk.api) == {}
    key = keyed()
    for _ in range(2):
        talk.create()
        talk.append(said(*range(5)), headers=key)
    assert counted(talk.api) == {
        "threads_created_total": 1, "thread_messages_appended_total": 5, "thread_messages_removed_total limit": 2,
    }  # fmt: skip
    talk.popped()
    talk.post("clear")
    talk.post("clear")
    with talk.running() as run:
        talk.appended(*range(4), run=run)
    talk.beside().appended("another")
    with talk.beside().running():
        pass
    talk.api.ok(talk.api.delete(talk.path), 204)
    problem(talk.api.delete(talk.path), 404, "not_found")
    assert counted(talk.api) == {
        "threads_created_total": 3, "threads_deleted_total deleted": 1, "thread_messages_appended_total": 10,
        "thread_messages_removed_total limit": 3, "thread_messages_removed_total popped": 1,
        "thread_messages_removed_total cleared": 2,
    }  # fmt: skip


def test_what_a_lapsed_run_left_is_counted(talk: Talk) -> None:
    """Messages that go because a run gave no sign for too long are counted like others."""
    talk.left(*range(5))
    wait_until(lambda: talk.get()["message_count"] == 3, "the run to lapse")
    wait_until(lambda: "thread_messages_removed_total limit" in counted(talk.api), "the count")
    assert counted(talk.api)["thread_messages_removed_total limit"] == 2


def test_threads_of_others_are_refused_and_counted(talk: Talk) -> None:
    """Whoever asks for a thread that is another user's only is counted, on every way to it; what nobody has is not."""
    bob = talk.acting(sub="bob").made()
    events = f"/v1/projects/{talk.project}/events"
    headers = {"Accept": "application/json"}
    answers = (
        talk.api.get(talk.path), talk.api.get(f"{talk.path}/messages"), talk.api.get(f"{talk.path}/stats"),
        talk.post("pop"), talk.post("clear"), talk.api.delete(talk.path),
        talk.api.get(f"/chatkit/threads/{talk.id}", headers={"X-Project": talk.project}),
        talk.api.get(events, params={"thread": talk.id}, headers=headers),
    )  # fmt: skip
    for answer in answers:
        problem(answer, 404, "not_found")
    assert counted(talk.api)["threads_refused_total"] == len(answers)
    problem(talk.api.get(f"{talk.all}/{new_uuid()}"), 404, "not_found")
    problem(talk.api.get(events, params={"thread": new_uuid()}, headers=headers), 404, "not_found")
    reader = talk.acting(sub="root", scopes=READ_ALL)
    talk.api.ok(reader.api.get(events, params={"thread": talk.id}, headers=headers), 200)
    talk.api.ok(reader.api.get(talk.path, params={"user": "bob"}), 200)
    bob.get()
    assert counted(talk.api)["threads_refused_total"] == len(answers)


def test_answers_are_counted_by_what_became_of_them(talk: Talk, tmp_path: Path) -> None:
    """Kept, failed, or fenced because the thread was deleted meanwhile; each took its time, and none is at work now."""
    key = keyed()["Idempotency-Key"]
    assert talk.say("hello", key=key) == talk.say("hello", key=key)
    problem(talk.send("raise"), 503, "unavailable")
    go = tmp_path / "go"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(talk.send, f"hold {go}")
        wait_until(lambda: counted(talk.api).get("thread_answering", 0) == 1, "the responder to be at work")
        talk.api.ok(talk.api.delete(talk.path), 204)
        go.touch()
        problem(answer.result(), 409, "fenced")
    found = counted(talk.api)
    assert {name: value for name, value in found.items() if "exchanges" in name or "answer" in name} == {
        "thread_exchanges_total kept": 1, "thread_exchanges_total failed": 1, "thread_exchanges_total fenced": 1,
        "thread_answer_seconds_count": 3,
    }  # fmt: skip
