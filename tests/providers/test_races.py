"""What several clients do to provider sessions in the same moment."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any

import httpx2

from support.api import Api, Work
from support.chains import Chain, fenced, given

MANY = 8


@contextmanager
def askers(chains: list[Chain]) -> Iterator[Callable[[Callable[[int, Chain], Any]], list[Any]]]:
    """Ask for each chain in a thread and on a connection of its own, all in the same moment."""
    clients = [httpx2.Client(timeout=60) for _ in chains]
    barrier = Barrier(len(chains))

    def alone(number: int) -> Chain:
        chain = chains[number]
        api = Api(chain.api.url, database=chain.api.database, token=chain.api.token, shared=clients[number])
        return Chain(api, Work(api, chain.work.project, chain.work.task), chain.id)

    def together(ask: Callable[[int, Chain], Any]) -> list[Any]:
        def one(number: int) -> Any:
            barrier.wait(30)
            return ask(number, alone(number))

        return list(pool.map(one, range(len(chains))))

    with ThreadPoolExecutor(len(chains)) as pool:
        yield together
    for client in clients:
        client.close()


def statuses(answers: list[httpx2.Response]) -> Counter[int]:
    """How often each status was answered."""
    return Counter(answer.status_code for answer in answers)


def sessions(api: Api, count: int) -> list[Chain]:
    """Sessions of as many tasks of one project."""
    work = api.work()
    path = f"/v1/projects/{work.project}/tasks"
    tasks = [api.ok(api.post(path, {"title": "T"}), 201)["id"] for _ in range(count)]
    return [Chain.begin(api, work=Work(api, work.project, task)) for task in tasks]


def test_an_id_is_bound_once(api: Api) -> None:
    """Of several sessions that are given the same id in the same moment one has it; the others are refused, audited."""
    chains = sessions(api, MANY)
    with askers(chains) as together:
        wanted = given("A")
        answers = together(lambda _, chain: chain.open(provider_session_id=wanted))
        assert statuses(answers) == {201: 1, 403: MANY - 1}
        rows = [chain.opened() for chain in chains]
        told = given("B")
        answers = together(lambda number, chain: chain.patch(rows[number], new_provider_session_id=told))
        assert statuses(answers) == {200: 1, 403: MANY - 1}
    heads = Counter(chain.head_id() for chain in chains)
    assert heads[told] == 1
    violations = [line for chain in chains for line in chain.audit() if line["action"] == "security_violation"]
    assert len(violations) == 2 * (MANY - 1)


def test_numbers_of_versions_have_no_holes(api: Api) -> None:
    """Versions that are made in the same moment are all made, with a number each."""
    chains = sessions(api, MANY)
    path = f"/v1/projects/{chains[0].work.project}/versions"
    with askers(chains) as together:
        for _ in range(3):
            together(lambda _, chain: api.ok(chain.api.post(path, {"session_id": chain.id}), 201))
    made = [event["data"]["number"] for event in chains[0].events() if event["type"] == "version.created"]
    assert made == list(range(1, 3 * MANY + 1))


def test_what_ends_together_is_added_up(api: Api) -> None:
    """Of provider sessions of one task, in several sessions, that end in the same moment, each end tells totals with
    all ends before it; the last one's are those that are shown."""
    work = api.work()
    pair = [Chain.begin(api, work=work, phase=phase) for phase in ("plan", "run")]
    chains = [pair[number % 2] for number in range(MANY)]
    with askers(chains) as together:
        rows = [chain.opened() for chain in chains]
        together(lambda number, chain: chain.ended(rows[number], usage={"tokens": 10**number}))
    ends = [event for event in work.events() if event["type"] == "provider_session.ended"]
    told, so_far = [event["data"]["totals"]["total_tokens"] for event in ends], 0
    for event, total in zip(ends, told, strict=True):
        so_far += event["data"]["usage"]["tokens"]
        assert total == so_far
    shown = api.ok(api.get(f"/v1/tasks/{work.task}/metrics"), 200)
    assert shown["total_tokens"] == told[-1] == (10**MANY - 1) // 9


def test_one_is_opened_once(api: Api) -> None:
    """The same request with the same key in the same moment is one row, whoever is answered first."""
    chain = Chain.begin(api)
    with askers([chain] * MANY) as together:
        answers = together(lambda _, one: one.open(headers=fenced(key="k")))
    assert statuses(answers) == {201: MANY}
    assert len({answer.content for answer in answers}) == 1
    assert len(chain.chain()["data"]) == 1


def test_rows_of_a_moment_have_an_order(api: Api) -> None:
    """Provider sessions that begin in the same moment have times of their own, so a chain's order is one."""
    chain = Chain.begin(api)
    with askers([chain] * MANY) as together:
        together(lambda _, one: one.opened())
    data = chain.chain()["data"]
    assert len({row["started_at"] for row in data}) == MANY
    assert [row["started_at"] for row in data] == sorted(row["started_at"] for row in data)


def test_the_head_is_the_newest_that_was_told(api: Api) -> None:
    """New ids that are told in the same moment: the head is that of the last event, wherever one looks."""
    chain = Chain.begin(api)
    rows = [chain.opened() for _ in range(MANY)]
    with askers([chain] * MANY) as together:
        for _ in range(3):
            together(lambda number, one: one.patched(rows[number], new_provider_session_id=given("N")))
    told = [event["data"] for event in chain.events() if event["type"] == "provider_session.updated"]
    assert chain.head_id() == told[-1]["provider_session_id"] == told[-1]["head_provider_session_id"]
    for event in told:
        assert event["head_provider_session_id"] == event["provider_session_id"]


def test_a_takeover_and_an_end_in_the_same_moment(api: Api) -> None:
    """Either the end came first, and the next one resumes its id; or it waited, and is given the turn by the end."""
    for _ in range(5):
        chain = Chain.begin(api)
        _, row = chain.taken()
        new = given("A")

        def ask(number: int, one: Chain, row: dict[str, Any] = row, new: str = new) -> Any:
            if number == 0:
                return one.ended(row, new_provider_session_id=new)
            return one.decided(wait_s=30)

        with askers([chain, chain]) as together:
            _, decision = together(ask)
        assert (decision["provider_session_id"], decision["fence"]) == (new, 3)
        assert chain.head_id() == new


def test_a_deletion_and_a_beginning_in_the_same_moment(api: Api) -> None:
    """A session that is deleted while something is begun in it: the row is there or it was refused, never half."""
    for _ in range(5):
        chain = Chain.begin(api)

        def ask(number: int, one: Chain) -> httpx2.Response:
            return one.open() if number else one.api.delete(one.path)

        with askers([chain] * 4) as together:
            gone, *begun = together(ask)
        assert gone.status_code == 204
        found = statuses(begun)
        assert found[201] + found[409] == 3
        assert len(chain.chain()["data"]) == found[201]
