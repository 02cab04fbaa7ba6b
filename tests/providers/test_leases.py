"""Leases of provider sessions: nobody is given up before his time, nothing stays open for ever."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.api import Api, problem
from support.chains import Chain, Waiting, fenced, figures, given
from support.clockednode import ClockedNode, serving
from support.node import NodeFactory
from support.serving import LIVELY, served
from support.waiting import DEADLINE_S, STALL_S, wait_until


@pytest.fixture
def chain(api: Api) -> Chain:
    """A new session."""
    return Chain.begin(api)


@pytest.fixture
def clocked(database_url: str) -> Iterator[ClockedNode]:
    """A node on each database whose leases run by the test's clock."""
    with serving(database_url) as found:
        yield found


def lived_s(row: dict[str, Any]) -> timedelta:
    """From the last sign that is shown to the end."""
    return datetime.fromisoformat(row["ended_at"]) - datetime.fromisoformat(row["last_used_at"])


def test_a_silent_one_is_abandoned(chain: Chain) -> None:
    """Without a sign for its lease it is closed as `abandoned`, never before; what it used is kept, and so are its
    model's totals, its id and the head."""
    first = chain.link("A")
    row = chain.opened(lease_s=STALL_S, resumed_from=first["provider_session_id"])
    chain.patched(row, usage={"tokens": 9})
    after = chain.closed(row)
    assert (after["state"], after["usage"]["tokens"]) == ("abandoned", 9)
    assert lived_s(after) >= timedelta(seconds=STALL_S)
    assert after["is_resumable"] is True
    assert chain.chain()["head"]["id"] == first["id"]
    assert chain.decided()["provider_session_id"] == first["provider_session_id"]


def test_each_has_its_own_lease(chain: Chain) -> None:
    """One with a long lease stays open where one with a short one is closed; without a wish it is the node's."""
    long, usual, short = chain.opened(lease_s=3600), chain.opened(), chain.opened(lease_s=1)
    chain.closed(short)
    assert [chain.row(row)["state"] for row in (long, usual)] == ["open", "open"]


def test_the_nodes_lease_is_a_setting(sqlite_url: str, tmp_path: Path) -> None:
    """Who asks for none is given the node's: here a second."""
    with served(tmp_path, sqlite_url, SESSIONCAST_PROVIDER_LEASE_S="1") as api:
        chain = Chain.begin(api)
        after = chain.closed(chain.opened())
        assert after["state"] == "abandoned"
        assert lived_s(after) >= timedelta(seconds=1)


@pytest.mark.parametrize("sign", ["empty", "usage", "new id", "resume-failed"])
def test_every_write_renews(clocked: ClockedNode, sign: str) -> None:
    """As long as its holder writes, whatever it is, one stays open beside one that is silent, lease after lease."""
    chain = Chain.begin(clocked.api)
    chain.link("A")
    number = 0

    def write(row: dict[str, Any]) -> None:
        nonlocal number
        number += 1
        match sign:
            case "empty":
                chain.patched(row)
            case "usage":
                chain.patched(row, usage={"tokens": number})
            case "new id":
                chain.patched(row, new_provider_session_id=row["provider_session_id"])
            case _:
                # Who is told to begin afresh goes on telling: an id of its own that it cannot resume.
                chain.failed(row, "locked")

    held = chain.opened(lease_s=10)
    for _ in range(2):  # twice over the time of a lease
        silent = chain.opened(lease_s=10)
        clocked.look()
        for _ in range(2):
            clocked.now += 6
            write(held)
            clocked.look()
        assert [chain.row(row)["state"] for row in (silent, held)] == ["abandoned", "open"]


def test_an_abandoned_one_may_come_back_to_end(chain: Chain) -> None:
    """Late but not taken over: it tells its usage, its id and its end, and is the head then."""
    row = chain.opened(lease_s=1)
    abandoned = chain.closed(row)
    new = given("A")
    after = chain.ended(row, usage={"tokens": 7}, new_provider_session_id=new)
    assert (after["state"], after["usage"]["tokens"], after["provider_session_id"]) == ("ended", 7, new)
    assert after["ended_at"] > abandoned["ended_at"]
    assert chain.head_id() == new
    totals = chain.api.ok(chain.api.get(f"{chain.path}/metrics"), 200)
    assert (totals["total_tokens"], totals["num_iterations"]) == (7, 1)


def test_an_abandoned_one_stays_closed_without_its_end(chain: Chain) -> None:
    """Usage, an id and signs of life do not open it again; the id that it tells is the head."""
    row = chain.opened(lease_s=1)
    chain.closed(row)
    assert chain.patched(row)["state"] == "abandoned"
    assert chain.patched(row, usage={"tokens": 1})["state"] == "abandoned"
    new = given("A")
    assert chain.patched(row, new_provider_session_id=new)["state"] == "abandoned"
    assert chain.head_id() == new


def test_an_abandoned_one_that_was_taken_over_moves_nothing(chain: Chain) -> None:
    """When another has taken the session over, late facts are kept in its row, and the head is never its."""
    first = chain.link("A")
    decision = chain.decided()
    row = chain.opened(lease_s=1, fence=decision["fence"], resumed_from=first["provider_session_id"])
    chain.closed(row)
    _, other = chain.taken()
    second = chain.ended(other, new_provider_session_id=given("B"))
    assert chain.patched(row, usage={"tokens": 8})["usage"]["tokens"] == 8
    late = chain.ended(row, usage={"tokens": 9})
    assert late["usage"]["tokens"] == 9
    assert late["state"] in ("abandoned", "ended")
    problem(chain.patch(row, new_provider_session_id=given("C")), 409, "fenced")
    problem(chain.patch(row, headers=fenced(decision["fence"]), usage={"tokens": 10}), 409, "fenced")
    assert chain.chain()["head"] == second
    totals = chain.api.ok(chain.api.get(f"{chain.path}/metrics"), 200)
    assert totals["total_tokens"] == 9


def test_an_abandoned_one_gives_its_turn_on(chain: Chain) -> None:
    """Who waits behind a holder that fell silent is next once its lease is out, with a fence of its own."""
    decision = chain.decided()
    row = chain.opened(lease_s=1, fence=decision["fence"])
    with Waiting(chain) as waiting:
        following = waiting.decision()
    assert following["fence"] == decision["fence"] + 1
    assert chain.row(row)["state"] == "abandoned"
    assert chain.actions()[-2:] == ["abandoned", "resume_decided"]


def test_a_turn_that_nothing_is_begun_in_passes(sqlite_url: str, tmp_path: Path) -> None:
    """Who was given the turn and never begins loses it after the time of a turn; its fence is old then."""
    with served(tmp_path, sqlite_url, SESSIONCAST_TURN_LEASE_S=str(STALL_S)) as api:
        chain = Chain.begin(api)
        lost = chain.decided()
        with Waiting(chain) as waiting:
            following = waiting.decision()
        assert following["fence"] == lost["fence"] + 1
        problem(chain.open(headers=fenced(lost["fence"])), 409, "fenced")
        assert chain.opened(fence=following["fence"])["fence"] == following["fence"]


def test_a_turn_that_something_is_begun_in_stays(sqlite_url: str, tmp_path: Path) -> None:
    """Once a provider session is open in it, the turn lives as long as that, however short the time to begin was."""
    with served(tmp_path, sqlite_url, SESSIONCAST_TURN_LEASE_S=str(STALL_S)) as api:
        chain, other = Chain.begin(api), Chain.begin(api)
        _, row = chain.taken()
        other.decided()
        with Waiting(other) as waiting:  # for as long as a turn without a beginning lives
            waiting.decision()
        assert problem(chain.resume(), 409, "session_being_modified")["ahead"] == 1
        chain.ended(row)
        assert chain.decided()["decision"] == "resume"


def test_leases_are_counted(chain: Chain) -> None:
    """The metrics tell how many are open, and how many ended or were given up."""
    before = figures(chain.api)
    row = chain.opened()
    wait_until(lambda: figures(chain.api)["provider_sessions_open",] >= 1, "an open one to be counted")
    chain.closed(chain.opened(lease_s=1))
    chain.ended(row)
    key = "provider_sessions_ended_total"
    wait_until(lambda: figures(chain.api)[key, "abandoned"] > before.get((key, "abandoned"), 0), "it to be counted")
    assert figures(chain.api)[key, "ended"] == before.get((key, "ended"), 0) + 1


async def test_a_restart_gives_everybody_his_whole_time(node_factory: NodeFactory, sqlite_url: str) -> None:
    """A node that starts again gives up no one before he had the time of his lease to come back; then it does."""
    node = await node_factory(env={**LIVELY, "SESSIONCAST_DATABASE_URL": sqlite_url})
    async with httpx2.AsyncClient(timeout=30) as http:
        await http.put(f"{node.url}/v1/projects/p", json={})
        task = (await http.post(f"{node.url}/v1/projects/p/tasks", json={"title": "T"})).json()["id"]
        start = {"phase": "run", "model": {"name": "m"}}
        session = (await http.post(f"{node.url}/v1/tasks/{task}/sessions", json=start)).json()["session"]["id"]
        path = f"/v1/sessions/{session}/provider-sessions"
        back, gone = [
            (await http.post(f"{node.url}{path}", json={"operation": "x", "lease_s": STALL_S})).json() for _ in range(2)
        ]
        node.kill()
        await node.start()

        async def states() -> dict[str, str]:
            answer = await http.patch(f"{node.url}/v1/provider-sessions/{back['id']}", json={})
            assert answer.status_code == 200
            chain = (await http.get(f"{node.url}/v1/sessions/{session}/chain")).json()["data"]
            return {row["id"]: row["state"] for row in chain}

        assert await states() == {back["id"]: "open", gone["id"]: "open"}
        async with asyncio.timeout(DEADLINE_S):
            while True:
                found = await states()
                if found[gone["id"]] != "open":
                    break
                await asyncio.sleep(0.1)  # it is given up seconds later, and asking costs something
        assert found == {back["id"]: "open", gone["id"]: "abandoned"}
