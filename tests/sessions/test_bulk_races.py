"""Bulks beside bulks and beside single starts, over the same tasks."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from support.api import Api
from support.bulk import Field, codes, new_key, wish
from support.racing import Crowd


def _reach(field: Field, api: Api) -> Field:
    """The same tasks through another node."""
    other = Field(api, 0, project=field.project)
    other.tasks = field.tasks
    return other


def _compete(one: Field, two: Field) -> None:
    live = dict(zip(one.tasks, one.sessions("m"), strict=True))
    orders = (one, "n", one.tasks), (two, "o", one.tasks[::-1])

    def ask(field: Field, model: str, tasks: list[str]) -> dict[str, Any]:
        items = field.bulk(replace=[wish(task, model, confirm=live[task]) for task in tasks])["replace"]
        return dict(zip(tasks, codes(items), strict=True))

    with ThreadPoolExecutor(2) as pool:
        first, second = (asked.result(60) for asked in [pool.submit(ask, *order) for order in orders])
    now = one.live()
    for task in one.tasks:
        told = {"n": first[task], "o": second[task]}
        assert told.pop(now[task]) == "replaced"
        # Who came while the other one had the task, and waited too long, was not told who is live.
        assert set(told.values()) <= {"session_changed", "session_being_modified"}
    events = one.events()[len(one.tasks) :]
    assert [event["type"] for event in events] == ["session.replaced", "session.created"] * len(one.tasks)


def test_of_two_bulks_over_the_same_tasks_one_wins_each(api: Api) -> None:
    """Two bulks replace the same sessions, in opposite orders: each task has one winner, and nobody a deadlock."""
    field = Field(api, 120)
    _compete(field, _reach(field, Api(api.url, database=api.database, shared=api.http)))


def test_of_two_bulks_through_two_nodes_one_wins_each(postgres_nodes: list[Api]) -> None:
    """The same through two nodes."""
    field = Field(postgres_nodes[0], 120)
    _compete(field, _reach(field, postgres_nodes[1]))


def test_one_key_through_two_nodes_is_done_once(postgres_nodes: list[Api]) -> None:
    """A bulk that is sent to two nodes at once with one key is done once, and both tell the same."""
    field = Field(postgres_nodes[0], 120)
    live = field.sessions("m")
    items = [wish(task, "n", confirm=id_) for task, id_ in zip(field.tasks, live, strict=True)]
    fields, key = [field, _reach(field, postgres_nodes[1])], new_key()
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda one: one.bulk(replace=items, key=key), fields)
    assert first == second
    assert codes(first["replace"]) == ["replaced"] * 120
    assert len(field.events()) == 3 * 120


async def test_starts_beside_a_bulk_find_what_it_made_or_make_it(postgres_nodes: list[Api]) -> None:
    """While a bulk fills phases, starts in the same phases through the other node make or find one session each."""
    one, two = postgres_nodes
    field = Field(one, 100)
    with ThreadPoolExecutor(1) as pool:
        bulk = pool.submit(lambda: field.bulk(replace=[wish(task, "m") for task in field.tasks])["replace"])
        body = {"phase": "run", "model": {"name": "m"}}
        answers = await Crowd(two).all([("POST", f"/v1/tasks/{task}/sessions", body) for task in field.tasks[::-1]])
        items = bulk.result(60)
    assert {answer.status_code for answer in answers} <= {200, 201}
    for item, answer in zip(items, answers[::-1], strict=True):
        started = answer.json()
        assert sorted((item["outcome"], started["outcome"])) == ["created", "existing"]
        assert item["session"]["id"] == started["session"]["id"]
    assert len(field.events()) == 100
