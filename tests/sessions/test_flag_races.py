"""The single-session flag comes and goes while sessions are started: once it is on for good, each place has one."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any

import pytest

from support.api import ALL_SCOPES, Api, Work

pytestmark = pytest.mark.xdist_group("flags of a node")  # flags are everybody's

_FLAG = "/v1/admin/flags/single_session_enabled"
_PLACES = [(phase, debug) for phase in ("plan", "run") for debug in (False, True)]
_STARTERS, _STARTS = 6, 12


def _switch(api: Api, state: str) -> dict[str, Any]:
    admin = api.acting(scopes=("admin",))
    for _ in range(100):
        answer = admin.request("PUT", _FLAG, json={"state": state})
        if answer.status_code == 200:
            break
        assert answer.json()["retryable"], answer.text
    switched: dict[str, Any] = api.ok(answer, 200)
    return switched


def _start(api: Api, work: Work, number: int) -> str:
    phase, debug = _PLACES[number % len(_PLACES)]
    body = {"phase": phase, "debug": debug, "model": {"name": "m"}}
    for _ in range(100):
        answer = api.post(work.path, body)
        if answer.status_code in (200, 201):
            return str(answer.json()["outcome"])
        assert answer.json()["retryable"], answer.text  # with so many in the way half a second may not be enough
    raise TimeoutError(answer.text)


def _race(nodes: list[Api]) -> None:
    api = nodes[0].acting(scopes=(*ALL_SCOPES, "admin"))
    work = api.work()
    done = threading.Event()

    def flip() -> None:
        for state, node in zip(cycle(("off", "on")), cycle(nodes), strict=False):
            _switch(node, state)
            if done.is_set() and state == "on":
                return

    def start(party: int) -> Counter[str]:
        return Counter(_start(nodes[party % len(nodes)], work, party + number) for number in range(_STARTS))

    try:
        with ThreadPoolExecutor(_STARTERS + 1) as pool:
            flipping = pool.submit(flip)
            try:
                outcomes = sum(pool.map(start, range(_STARTERS)), Counter[str]())
            finally:
                done.set()
            flipping.result(60)
    finally:
        _switch(api, "on")
    assert outcomes["created"] >= len(_PLACES)
    assert sum(outcomes.values()) == _STARTERS * _STARTS
    live = api.ok(api.get(work.path), 200)["data"]
    assert sorted((one["phase"], one["debug"]) for one in live) == sorted(_PLACES), "one session in each place"
    _check_log(work, {one["id"] for one in live})


def _check_log(work: Work, live: set[str]) -> None:
    """What the log amounts to is what is live; a replaced one names one that was newer."""
    alive: dict[str, dict[str, Any]] = {}
    born: list[str] = []
    for event in work.events():
        data = event["data"]
        if event["type"] == "session.created":
            born.append(data["id"])
            alive[data["id"]] = data
        elif event["type"] == "session.replaced":
            assert born.index(data["replaced_by"]) > born.index(data["id"]), "the newest keeps the slot"
            del alive[data["id"]]
    assert set(alive) == live


def test_flips_and_starts_on_one_node(api: Api) -> None:
    """Whoever starts while the flag is switched to and fro: in the end each place has its newest session alone."""
    _race([api])


def test_flips_and_starts_on_two_nodes(postgres_nodes: list[Api]) -> None:
    """The same with starts and flips spread over two nodes."""
    _race(postgres_nodes)


def test_a_share_of_the_projects(api: Api) -> None:
    """At a percentage some projects are single and others are not, and which is which does not change by asking."""
    api = api.acting(scopes=(*ALL_SCOPES, "admin"))
    works = [api.work() for _ in range(30)]
    try:
        api.ok(api.request("PUT", _FLAG, json={"state": "percentage", "percentage": 50}), 200)
        kinds = [[_start(api, work, 0) for _ in range(3)][1:] for work in works]
        assert all(len(set(kind)) == 1 for kind in kinds)
        assert {kind[0] for kind in kinds} == {"created", "existing"}
    finally:
        settled = _switch(api, "on")["settled"]
    assert settled == 2 * sum(kind[0] == "created" for kind in kinds)
    for work in works:
        assert len(api.ok(api.get(work.path), 200)["data"]) == 1
