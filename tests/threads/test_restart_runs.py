"""Clients that leave, threads that are deleted, and holders that die, in the middle of what they do with a thread."""

from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from support.api import problem
from support.chains import figures
from support.chat import kept
from support.chatnode import House, house_of
from support.waiting import wait_until

pytestmark = pytest.mark.xdist_group("runs of threads")  # they share nodes


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A node on each database, whose responder waits to be let go."""
    more: dict[str, Any] = {"responder": "slow", "SESSIONCAST_WAITER_LEASE_S": "4"}
    with house_of(request, tmp_path_factory, request.param, **more) as found:
        yield found


def test_an_answer_outlives_who_asked(house: House) -> None:
    """A client that leaves in the middle of an answer: it is in the thread all the same, and told to his next request
    with the key."""
    talk = house.talk()
    connection = HTTPConnection(talk.api.url.removeprefix("http://"), timeout=60)
    headers = {"Authorization": talk.api.token, "Content-Type": "application/json", "X-Project": talk.project}
    path = f"/chatkit/threads/{talk.id}/messages"
    connection.request("POST", path, f'{{"content":"{talk.id}"}}', {**headers, "Idempotency-Key": "k"})
    wait_until((house.folder / f"began-{talk.id}").exists, "the answer to begin")
    connection.close()
    house.go(talk.id)
    wait_until(lambda: len(talk.whole()) == 2, "the answer")
    said = [("user", talk.id), ("assistant", f"heard {talk.id}, after 0")]
    assert talk.lines() == said
    assert talk.say(talk.id, key="k") == said[1][1]
    assert talk.lines() == said
    assert house.stored.places() == 0


def test_a_deleted_thread_takes_its_run_with_it(house: House) -> None:
    """Deleted in the middle of an answer: who asked is told that the run is over, and nothing of it is in a thread of
    the same id that is made later."""
    before = figures(house.api).get(("thread_exchanges_total", "fenced"), 0)
    talk = house.talk()
    answer = house.asked(talk, talk.id)
    talk.api.ok(talk.api.delete(talk.path), 204)
    problem(talk.api.get(talk.path), 404, "not_found")
    again = house.asked(talk, f"{talk.id}-again")
    house.go(talk.id)
    problem(answer.result(30), 409, "fenced")
    house.go(f"{talk.id}-again")
    assert kept(again.result(30)) == f"heard {talk.id}-again, after 0"
    assert talk.lines() == [("user", f"{talk.id}-again"), ("assistant", f"heard {talk.id}-again, after 0")]
    assert figures(house.api)["thread_exchanges_total", "fenced"] == before + 1
    assert house.stored.places() == 0


def test_an_answer_may_take_its_time(house: House) -> None:
    """One that takes longer than a run lives without a sign of its node keeps its turn; nobody comes between."""
    talk, silent = house.talk(), house.talk().made()
    answer = house.asked(talk, talk.id)
    silent.run(lease_s=5)
    silent.appended("after a run that nobody renewed")
    problem(talk.append([{"role": "user", "content": "x"}], wait_s=0), 409, "session_being_modified")
    house.go(talk.id)
    assert kept(answer.result(30)) == f"heard {talk.id}, after 0"
    assert len(talk.whole()) == 2


def test_a_run_whose_holder_died_is_over_after_its_lease(house: House) -> None:
    """A run over /v1 that nobody renews: the next one has his turn; whatever its holder does then is fenced, and what
    it appended stays."""
    talk = house.talk().made()
    run = talk.run(lease_s=3)
    talk.appended("of the run", run=run)
    house.go(talk.id)
    assert talk.say(talk.id) == f"heard {talk.id}, after 1"
    for late in (talk.append([{"role": "user", "content": "x"}], run=run), talk.post("pop", run=run), talk.renew(run)):
        problem(late, 409, "fenced")
    talk.end(run)
    assert talk.contents() == ["of the run", talk.id, f"heard {talk.id}, after 1"]
