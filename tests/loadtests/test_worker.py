"""A user notices when the server contradicts itself, and tells what the rule demands from what is wrong."""

from collections.abc import Callable
from typing import Any

import pytest

from population import PHASES
from swarm.measures import Measures
from swarm.verdict import judge
from swarm.worker import Worker, WrongAnswerError
from swarm.world import SHARED, Desk, World

TASK = "task"
DESK = Desk("p", own=[TASK], shared=[TASK], seen=[TASK])


def session(id_: str, *, output_seq: int = 0) -> dict[str, Any]:
    return {
        "id": id_, "model": {"name": "model-a"}, "active": True, "output_seq": output_seq, "deleted_at": None,
        "metadata": {},
    }  # fmt: skip


class Script:
    """Answers one operation after another as it is told to."""

    def __init__(self, answers: dict[str, list[tuple[int, Any]]]) -> None:
        self._answers = answers

    def __call__(
        self, operation: str, method: str, path: str, body: Any, good: Callable[[int, Any], str | None]
    ) -> tuple[int, Any, str | None]:
        status, document = self._answers[operation].pop(0)
        good(status, document)
        return status, document, "e:1"


def worker(answers: dict[str, list[tuple[int, Any]]]) -> tuple[Worker, Measures]:
    measures = Measures()
    return Worker(Desk("p", [TASK], [], [TASK]), Script(answers), measures, lambda _: None), measures


def until_contradicted(act: Callable[[], None]) -> None:
    """The user chooses among three phases: what is known of one is asked for again after some tries."""

    def several() -> None:
        for _ in range(200):
            act()

    with pytest.raises(WrongAnswerError):
        several()


def lookups(*found: list[dict[str, Any]]) -> list[tuple[int, Any]]:
    return [(200, {"data": sessions}) for sessions in found]


def test_another_session_than_the_known_one_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup of one's own phase that names another session is a wrong answer."""
    monkeypatch.setattr("swarm.worker.PHASES", PHASES[:1])
    monkeypatch.setattr("swarm.worker._CURIOUS_PART", 0.0)
    user, measures = worker({"lookup": lookups([session("a")], [session("a")], [session("b")])})
    until_contradicted(user.lookup)
    assert measures["lookup"].errors["wrong answer"] == 1
    assert measures["lookup"].count == 3


def test_two_live_sessions_are_wrong() -> None:
    """The rule of one live session per phase is checked in every lookup."""
    user, measures = worker({"lookup": lookups([session("a"), session("b")])})
    until_contradicted(user.lookup)
    assert measures["lookup"].errors["wrong answer"] == 1


def test_output_that_does_not_follow_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Appended output must be numbered from the last chunk on."""
    monkeypatch.setattr("swarm.worker._SHARED_PART", 0.0)
    user, measures = worker(
        {"lookup": lookups([session("a", output_seq=4)]), "append": [(200, {"first": 6, "last": 9})]}
    )
    until_contradicted(user.append)
    assert measures["append"].errors["wrong answer"] == 1


def test_a_question_about_another_session_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The confirmation must be for the session that lives there."""
    monkeypatch.setattr("swarm.worker._SHARED_PART", 0.0)
    question = {"code": "model_change_requires_confirmation", "confirm": {"session_id": "b"}}
    user, measures = worker({"lookup": lookups([session("a")]), "ask": [(409, question)]})
    until_contradicted(user.ask)
    assert measures["ask"].errors["wrong answer"] == 1


def test_a_replacement_confirms_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The confirmation comes with the next action, and an answer that replaced something else is wrong."""
    monkeypatch.setattr("swarm.worker._SHARED_PART", 0.0)
    question = {"code": "model_change_requires_confirmation", "confirm": {"session_id": "a"}}
    done = {"outcome": "replaced", "session": session("c"), "replaced": {"id": "b", "replaced_by": "c"}}
    user, measures = worker({"lookup": lookups([session("a")]), "ask": [(409, question)], "replace": [(201, done)]})
    user.ask()
    assert user.was_asked
    until_contradicted(user.confirm)
    assert not user.was_asked
    assert measures["replace"].errors["wrong answer"] == 1


@pytest.mark.parametrize(
    ("operation", "status", "document", "shared", "kind"),
    [
        ("replace", 201, {"outcome": "replaced"}, False, "good"),
        ("replace", 201, {"outcome": "created"}, False, "error"),
        ("replace", 409, {"code": "session_changed"}, True, "outcome"),
        ("replace", 409, {"code": "session_changed"}, False, "error"),
        ("replace", 409, {"code": "session_being_modified"}, True, "error"),
        ("ask", 409, {"code": "model_change_requires_confirmation"}, False, "good"),
        ("ask", 201, {"outcome": "created"}, False, "error"),
        ("append", 409, {"code": "session_replaced"}, True, "outcome"),
        ("append", 409, {"code": "fenced"}, True, "error"),
        ("start", 503, {"code": "create_failed"}, True, "error"),
        ("lookup", 200, {"data": []}, False, "good"),
        ("lookup", 0, None, False, "error"),
        ("delete", 204, None, False, "good"),
    ],
)
def test_answers_are_judged(operation: str, status: int, document: Any, shared: bool, kind: str) -> None:
    """A refusal that another user's change demands is an outcome; the same on one's own task is an error."""
    assert judge(operation, status, document, shared=shared).kind == kind


@pytest.mark.parametrize(("generators", "users"), [(1, 7), (2, 4), (3, 20)])
def test_desks_do_not_overlap(generators: int, users: int) -> None:
    """No task is the own one of two users, nor of one and shared, over all generators."""
    tasks = {f"p{number}": [f"{number}-{task}" for task in range(40)] for number in range(6)}
    worlds = [World(tasks, shard=(number, generators), users=users) for number in range(generators)]
    desks = [world.desk(user) for world in worlds for user in range(users)]
    owned = [task for desk in desks for task in desk.own]
    assert len(owned) == len(set(owned)) >= len(desks)
    assert not set(owned) & {task for desk in desks for task in desk.shared}
    assert all(len(desk.shared) == SHARED for desk in desks)


def test_too_small_a_world_is_refused() -> None:
    """Users without a task of their own are an error, not a run without meaning."""
    with pytest.raises(ValueError, match="too few"):
        World({"p": ["a", "b"]}, shard=(0, 1), users=5)
