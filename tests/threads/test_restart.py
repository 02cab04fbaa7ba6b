"""Nodes that are stopped or killed in the middle of answers."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.api import problem
from support.chat import Talk, kept
from support.chatnode import house_of, housed
from support.waiting import wait_until

KILLS = 2


def test_a_killed_nodes_run_is_over_after_its_lease(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Killed in the middle of an answer: the other node goes on once the lease is out, with the line and without an
    answer to it; the same key finishes that there, and does not double the line."""
    more: dict[str, Any] = {"responder": "slow", "SESSIONCAST_WAITER_LEASE_S": "3"}
    with house_of(request, tmp_path_factory, "two", **more) as house:
        here = house.talk()
        there = here.at(house.apis[1])
        lost = house.asked(here, "one", key="k")
        house.node.kill()
        with pytest.raises(httpx2.TransportError):
            lost.result(30)
        house.go()
        assert there.say("two") == "heard two, after 1"
        assert there.say("one", key="k") == "heard one, after 0"
        assert there.say("one", key="k") == "heard one, after 0"
        said = [
            ("user", "one"),
            ("user", "two"),
            ("assistant", "heard two, after 1"),
            ("assistant", "heard one, after 0"),
        ]
        assert there.lines() == said
        assert house.stored.places() == 0


def test_a_drain_leaves_nothing_half(sqlite_url: str, tmp_path: Path) -> None:
    """Told to stop in the middle of two answers: who asked is answered or told, the node stops, and the line is there;
    after the start the same key finishes the exchange, and nothing is there twice."""
    with housed(tmp_path, sqlite_url, responder="slow", SESSIONCAST_WAITER_LEASE_S="5") as house:
        quick, stuck = house.talk(), house.talk()
        answers = [house.asked(quick, "one", key="k"), house.asked(stuck, "two", key="k")]
        stopping = threading.Thread(target=house.node.stop)
        stopping.start()
        wait_until(lambda: "Shutting down" in house.log(), "the node to stop")
        house.go("one")
        stopping.join()
        told = []
        for future in answers:
            with suppress(httpx2.TransportError):  # cut off: the client will come again
                told.append(future.result(30))
        for answer in told:
            if answer.status_code != 200:
                problem(answer, 503, "unavailable")
        house.node.start()
        house.go()
        for talk, line in ((quick, "one"), (stuck, "two")):
            assert talk.say(line, key="k") == f"heard {line}, after 0"
            assert talk.say("and?") == "heard and?, after 2"
            assert talk.lines()[:2] == [("user", line), ("assistant", f"heard {line}, after 0")]
            assert len(talk.lines()) == 4


def insists(talk: Talk, line: str) -> str:
    """The answer to a line, asked for with one key until the exchange is in the thread."""
    found: list[str] = []

    def answered() -> bool:
        with suppress(httpx2.TransportError):
            answer = talk.send(line, key=line)
            if answer.status_code == 200 and "kept" not in answer.json():
                found.append(kept(answer))
            elif answer.status_code != 200:
                assert answer.status_code in (409, 503), answer.text
        return bool(found)

    wait_until(answered, f"{line} to be answered", deadline_s=60)
    return found[0]


@pytest.mark.parametrize("kind", ["sqlite", "two"])
def test_kills_lose_and_double_nothing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    """A node is killed again and again under clients who insist: each line is in the thread once, with one answer."""
    more = {"SESSIONCAST_WAITER_LEASE_S": "1", "SESSIONCAST_THREAD_WAIT_S": "60"}
    with house_of(request, tmp_path_factory, kind, **more) as house:
        talk = house.talk().made()
        done: list[str] = []

        def speaks(speaker: int) -> None:
            for number in range(6):
                line = f"{speaker}-{number}"
                insists(talk.at(house.apis[speaker % len(house.apis)]), line)
                done.append(line)

        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(speaks, speaker) for speaker in range(4)]
            for kill in range(1, KILLS + 1):
                wait_until(lambda: len(done) > 6 * kill, "answers")  # noqa: B023  at once
                house.node.kill()
                house.node.start()
            for future in futures:
                future.result(90)
        roles = [role for role, _ in talk.lines()]
        lines = [content for role, content in talk.lines() if role == "user"]
        assert sorted(lines) == sorted(f"{speaker}-{number}" for speaker in range(4) for number in range(6))
        assert roles.count("assistant") == len(lines)
        for speaker in range(4):  # each waited for one answer before he went on
            assert [line for line in lines if line.startswith(f"{speaker}-")] == [
                f"{speaker}-{number}" for number in range(6)
            ]
        assert [message["seq"] for message in talk.whole()] == list(range(1, 2 * len(lines) + 1))
