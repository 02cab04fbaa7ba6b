"""Chats with a responder of one's own, from the folder that the node works in; and what its log never has."""

import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sessioncast_server.db.migrate import migrate
from support import threadresponders
from support.api import Api, problem
from support.chat import Talk
from support.node import NodeProcess
from support.ports import free_port
from support.serving import served
from support.streams import follow
from support.threads import CALM, READ_ALL, keyed, new_uuid, said

pytestmark = pytest.mark.xdist_group("responders of chats")  # they share nodes

MARK = "Rumpelstiltskin"
SETTINGS = {
    "SESSIONCAST_RESPONDER": "answers:respond",
    "SESSIONCAST_RESPONDER_DEADLINE_S": "5",
    "SESSIONCAST_RESPONDER_MAX_BYTES": "50000",
    "SESSIONCAST_THREAD_WAIT_S": "60",
    "SESSIONCAST_LOG": "json",
    "SESSIONCAST_LOG_LEVEL": "debug",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the node works; the responder is in it."""
    found = tmp_path_factory.mktemp("answers")
    shutil.copy(threadresponders.__file__, found / "answers.py")
    return found


@pytest.fixture(scope="module")
def api(folder: Path) -> Iterator[Api]:
    """Requests to a node with this responder; in the end nothing that was said is in its log."""
    url = f"sqlite:///{folder}/x.db"
    migrate(url)
    with served(folder, url, **CALM, **SETTINGS) as found:
        yield found
    (log,) = folder.glob("node-*.log")
    text = log.read_text()
    assert "Traceback" not in text
    assert MARK not in text


@pytest.fixture
def talk(api: Api) -> Talk:
    """A thread that is not there yet."""
    return Talk.begin(api)


def outcomes(api: Api) -> dict[str, float]:
    """Answers by what became of them."""
    text = api.http.get(f"{api.url}/metrics").text
    (found,) = [one for one in text_string_to_metric_families(text) if one.name == "sessioncast_thread_exchanges"]
    return {sample.labels["outcome"]: sample.value for sample in found.samples if sample.name.endswith("_total")}


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The node's log, but for the line that says that it is ready."""
    (log,) = folder.glob("node-*.log")
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def test_it_knows_the_thread(talk: Talk) -> None:
    """It is told project, user, thread, and what was said before, with its times; not the line itself."""
    talk.say("first")
    talk.appended({"parts": [1, None]})
    project, user, thread, lines, available = json.loads(talk.say("know"))
    assert (project, user, thread, available) == (talk.project, "ann", talk.id, True)
    assert [line[:3] for line in lines] == [
        ["user", "first", 1], ["assistant", "heard first", 2], ["user", {"parts": [1, None]}, 3],
    ]  # fmt: skip
    times = [message["created_at"] for message in talk.whole()[:3]]
    assert [datetime.fromisoformat(line[3]) for line in lines] == [datetime.fromisoformat(at) for at in times]


def test_it_knows_the_newest(talk: Talk) -> None:
    """Of a long thread it is told the newest 200 messages, which with the line were one too many."""
    talk.appended(*range(200))
    lines = json.loads(talk.say("know"))[3]
    assert [line[1] for line in lines] == list(range(200))
    shown = talk.contents()
    assert (len(shown), shown[0], shown[-2]) == (200, 2, "know")


async def test_pieces_are_shown_and_kept_as_one(talk: Talk) -> None:
    """What it yields is seen in pieces, none of them empty, and kept as one message."""
    talk.made()
    async with follow("sse", talk.api.url, talk.project, token=talk.api.token, wanted={"thread": [talk.id]}) as stream:
        await stream.said("snapshot")
        assert talk.say("pieces") == "one two three"
        await stream._until(
            lambda: stream.events[-1:] != [] and stream.events[-1]["data"].get("seq") == 2, "the answer"
        )
        pieces = [event["data"] for event in stream.events if event["type"] == "message.delta"]
        assert "".join(piece["text"] for piece in pieces) == "one two three"
        assert [piece["index"] for piece in pieces] == list(range(len(pieces)))
        assert all(piece["text"] for piece in pieces)
    assert talk.lines() == [("user", "pieces"), ("assistant", "one two three")]


def test_halves_of_characters_are_kept_as_signs(talk: Talk) -> None:
    """What no JSON can hold does not end the exchange: it is U+FFFD in the answer and in the thread."""
    answer = talk.say("halves")
    assert answer == "😀 \ufffd"
    assert talk.lines()[1] == ("assistant", answer)


def test_no_text_is_an_answer(talk: Talk) -> None:
    """An empty answer is one, and is kept."""
    assert talk.say("nothing") == ""
    assert talk.lines() == [("user", "nothing"), ("assistant", "")]


@pytest.mark.parametrize("what", ["raise", "number", "much", "wait"])
def test_a_failure_is_said(talk: Talk, what: str) -> None:
    """Who raises, gives no text, too much, or none in time: 503; the line stays, and the thread goes on at once."""
    before = outcomes(talk.api).get("failed", 0)
    answer = talk.send(f"{what} {MARK}")
    found = problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert MARK not in answer.text
    assert found["retryable"] is True
    assert talk.lines() == [("user", f"{what} {MARK}")]
    assert talk.say("hello") == "heard hello"
    assert outcomes(talk.api)["failed"] == before + 1


def test_a_failed_exchange_is_finished_later(talk: Talk, folder: Path) -> None:
    """The same key again finishes what failed: the line is not doubled, and the answer follows what was said since."""
    key, line = keyed()["Idempotency-Key"], f"file {MARK}"
    for _ in range(2):
        problem(talk.send(line, key=key), 503, "unavailable")
    problem(talk.send("something else", key=key), 422, "idempotency_key_reused")
    talk.say("since")
    failures = [one for one in lines_of(folder) if one["event"] == "the responder gave no answer"]
    assert failures[-1]["thread"] == talk.id
    assert failures[-1]["error"].startswith("raised FileNotFoundError at answers.py:")
    (folder / MARK).touch()
    for _ in range(2):
        assert talk.say(line, key=key) == f"heard {line}"
    assert [content for _, content in talk.lines()] == [line, "since", "heard since", f"heard {line}"]


def test_a_finished_exchange_asks_nobody_again(talk: Talk) -> None:
    """Told again, an answer is the one of then: the responder, who would know more by now, is not asked."""
    key = keyed()["Idempotency-Key"]
    before = outcomes(talk.api).get("kept", 0)
    first = talk.say("know", key=key)
    talk.say("more")
    assert talk.say("know", key=key) == first
    assert outcomes(talk.api)["kept"] == before + 2
    assert len(talk.lines()) == 4


def test_a_pop_of_the_line_does_not_spoil_the_answer(talk: Talk) -> None:
    """A key whose line went meanwhile says it anew."""
    key = keyed()["Idempotency-Key"]
    problem(talk.send("raise", key=key), 503, "unavailable")
    talk.popped()
    problem(talk.send("raise", key=key), 503, "unavailable")
    assert [(one["seq"], one["content"]) for one in talk.whole()] == [(2, "raise")]


def test_the_log_tells_what_was_done_and_never_what_was_said(talk: Talk, folder: Path) -> None:
    """At level debug, with every way in which text comes in or is refused: names of threads, no text of messages."""
    talk.say(MARK)
    problem(talk.send(f"raise {MARK}"), 503, "unavailable")
    talk.appended(MARK, {"type": MARK, "content": [MARK]})
    for bad in ({"content": MARK, "run": MARK}, {"role": MARK + "\0", "content": MARK}, {"content": MARK}):
        problem(talk.append([bad]), 422, "invalid")
    problem(talk.append(said(MARK), run=new_uuid()), 409, "fenced")
    problem(talk.api.post(f"{talk.path}/messages", content=f'{{"{MARK}": NaN}}'.encode()), 400, "bad_json")
    problem(talk.send(MARK * 10_000), 422, "invalid")
    with talk.running():
        problem(talk.append(said(MARK), wait_s=0), 409, "session_being_modified")
    talk.api.ok(talk.api.get(f"{talk.path}/messages"), 200)
    talk.acting(scopes=READ_ALL).api.events(talk.project)
    talk.popped()
    talk.post("clear")
    talk.api.ok(talk.api.delete(talk.path), 204)
    problem(talk.api.get(f"{talk.path}?user={MARK}"), 403, "forbidden")
    found = [line["event"] for line in lines_of(folder) if line.get("thread") == talk.id]
    assert found == ["thread created", "the responder gave no answer", "thread pruned", "thread deleted"]


def test_without_its_responder_a_server_does_not_start(tmp_path: Path) -> None:
    """A name that cannot be loaded ends it before it is ready, in one line that has the variable, the name and why."""
    env = {"SESSIONCAST_RESPONDER": "no_such:f", "SESSIONCAST_DATABASE_URL": f"sqlite:///{tmp_path}/y.db"}
    node = NodeProcess(tmp_path, port=free_port(), env=env, arguments=())
    node.launch()
    assert node.wait() != 0
    lines = node.log.read_text().splitlines()
    assert lines[-1] == (
        "sessioncast: SESSIONCAST_RESPONDER=no_such:f: cannot be loaded: ModuleNotFoundError: No module named 'no_such'"
    )
    assert not [line for line in lines if "Traceback" in line or "ready" in line]
