"""Lines of one thread that come at the same time: all are answered, each in its turn, as they came."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection

import httpx2
import pytest

from support.api import problem
from support.chat import Talk, at_once, kept
from support.chatmodel import Mirror, told
from support.chatnode import House, house_of
from support.waiting import wait_until

MANY = 50

pytestmark = pytest.mark.xdist_group("queues of threads")  # they share nodes


@pytest.fixture(scope="module", params=["sqlite", "two", "redis"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One node on SQLite; two on PostgreSQL, without Redis and with. The responder tells all that it knows."""
    more = {"responder": "teller", "SESSIONCAST_THREAD_WAIT_S": "60"}
    with house_of(request, tmp_path_factory, request.param, **more) as found:
        yield found


def at_nodes(house: House, talk: Talk, many: int) -> list[Talk]:
    """The thread, asked for at each node in turn."""
    return [talk.at(house.apis[number % len(house.apis)]) for number in range(many)]


def is_in_order(talk: Talk, lines: list[str]) -> None:
    """The thread holds these lines in this order, each with its answer, which was given from all before it."""
    mirror = Mirror("ann", talk).take(talk.own_events())
    mirror.is_whole()
    assert mirror.seqs == list(range(1, 2 * len(lines) + 1))
    assert [message["content"] for message in talk.whole()][::2] == lines


def test_of_many_at_once_none_is_lost_or_doubled(house: House) -> None:
    """50 lines at the same moment, at all nodes: each is answered, from all that was said before it; none is stored
    twice, nothing comes between a line and its answer, and numbers have no holes."""
    talk = house.talk()
    calls = [partial(one.say, f"line {number}") for number, one in enumerate(at_nodes(house, talk, MANY))]
    answers = at_once(calls)
    stored = [message["content"] for message in talk.whole()]
    is_in_order(talk, stored[::2])
    assert sorted(stored[::2]) == sorted(f"line {number}" for number in range(MANY))
    assert sorted(stored[1::2]) == sorted(answers)
    assert house.stored.places() == 0


@contextmanager
def sending(house: House, talk: Talk, line: str, **more: str) -> Iterator[list[httpx2.Response]]:
    """Returns when the line waits for its turn; the list holds its answer, once there is one."""
    found: list[httpx2.Response] = []
    before = house.stored.places()
    thread = threading.Thread(target=lambda: found.append(talk.send(line, **more)))
    thread.start()
    wait_until(lambda: house.stored.places() > before, f"{line} to wait")
    yield found
    thread.join()


def test_lines_are_taken_in_order_of_arrival(house: House) -> None:
    """Those who wait while another has the thread are answered in the order in which they came, at whichever node; and
    so is who appends and pops meanwhile."""
    talk = house.talk().made()
    lines = [f"line {number}" for number in range(10)]
    with ExitStack() as stack:
        run = talk.run()
        waits = [
            stack.enter_context(sending(house, one, line))
            for line, one in zip(lines, at_nodes(house, talk, len(lines)), strict=True)
        ]
        assert (
            problem(talk.append([{"role": "user", "content": "x"}], wait_s=0), 409, "session_being_modified")["ahead"]
            == 11
        )
        assert problem(talk.post("pop", wait_s=0), 409, "session_being_modified")["ahead"] == 11
        assert not any(waits)
        talk.end(run)
    is_in_order(talk, lines)
    assert [kept(answer) for (answer,) in waits] == [content for role, content in talk.lines() if role == "assistant"]
    assert house.stored.places() == 0


def test_one_key_sent_twice_at_once_is_one_exchange(house: House) -> None:
    """The second waits for the first and is told the same; it leaves no place behind that others would wait for."""
    talk = house.talk().made()
    with ExitStack() as stack:
        run = talk.run()
        twins = [stack.enter_context(sending(house, one, "hello", key="k")) for one in at_nodes(house, talk, 2)]
        talk.end(run)
    assert [kept(answer) for (answer,) in twins] == [told("ann", talk.id, "hello", [])] * 2
    is_in_order(talk, ["hello"])
    assert house.stored.places() == 0


def test_who_leaves_the_queue_is_not_answered(house: House) -> None:
    """A client that leaves before his turn: his line is not stored, and nobody waits behind him."""
    talk = house.talk().made()
    with talk.running():
        connection = HTTPConnection(talk.api.url.removeprefix("http://"), timeout=60)
        headers = {"Authorization": talk.api.token, "Content-Type": "application/json", "X-Project": talk.project}
        connection.request("POST", f"/chatkit/threads/{talk.id}/messages", '{"content":"lost"}', headers)
        wait_until(lambda: house.stored.places() == 2, "it to wait")
        connection.close()
        wait_until(lambda: house.stored.places() == 1, "its place to be given up")
    assert talk.lines() == []
