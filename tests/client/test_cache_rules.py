"""The cache without I/O: what is fresh, what is not held, and that nothing old is given."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessioncast.answer import Answer
from sessioncast.cache import ENTRIES_MAX, Cache, Fetched
from sessioncast.cachevalues import Key
from sessioncast.streams.items import Snapshot
from sessioncast.touches import read_of, touched
from sessioncast_shared.events import Event
from sessioncast_shared.position import Position
from support.cachemodel import AT, TASK, World, session, task

A = Key("session", "a")
KEYS = [A, Key("session", "b"), Key("session", "c"), Key("task", TASK), Key("sessions", TASK)]


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> Cache:
    """A cache without jitter."""
    return Cache(clock=clock, jitter=lambda: 0.5)


def put(cache: Cache, value: Any, offset: int = 1, key: Key = A, epoch: str = "e") -> None:
    """Read it at an offset."""
    cache.store(key, Fetched(value, f'"{offset}"', Position(epoch, offset), cache.now))


@pytest.mark.parametrize(
    ("age_s", "stale", "due"),
    [(0.0, False, False), (7.9, False, False), (8.0, False, True), (9.9, False, True), (10.0, True, True),
     (69.9, True, True)],
)  # fmt: skip
def test_an_answer_ages(cache: Cache, clock: Clock, age_s: float, stale: bool, due: bool) -> None:
    """Fresh for 10 s, due in the last fifth of them, stale for 60 s more."""
    put(cache, session("a"))
    clock.now = age_s
    found = cache.look(A)
    assert found is not None
    assert (found.stale, found.due, found.age_s) == (stale, due, age_s)


def test_it_is_given_for_seventy_seconds(cache: Cache, clock: Clock) -> None:
    """After that there is nothing to give, but still something to compare with."""
    put(cache, session("a"))
    clock.now = 70.0
    assert cache.look(A) is None
    assert cache.known(A) is not None


@pytest.mark.parametrize(("jitter", "fresh_s"), [(0.0, 9.0), (0.5, 10.0), (1.0, 11.0)])
def test_freshness_is_spread(clock: Clock, jitter: float, fresh_s: float) -> None:
    """By a tenth, so that what was read together is not read again together."""
    cache = Cache(clock=clock, jitter=lambda: jitter)
    put(cache, session("a"))
    clock.now = fresh_s - 0.01
    assert (found := cache.look(A)) is not None
    assert not found.stale
    clock.now = fresh_s + 0.01
    assert (found := cache.look(A)) is not None
    assert found.stale


def test_it_is_bounded(cache: Cache) -> None:
    """What was not used for the longest time goes first."""
    for number in range(ENTRIES_MAX + 1):
        put(cache, session(f"s{number}"), key=Key("session", f"s{number}"))
        assert cache.look(Key("session", "s0")) is not None
    assert len(cache) == ENTRIES_MAX
    assert cache.look(Key("session", "s1")) is None


def test_an_event_corrects_what_is_held(cache: Cache) -> None:
    """The session itself, and where it is in the task and in the list; without a new lease of life."""
    old, new = session("a"), session("a", 2, status="idle")
    put(cache, old)
    put(cache, task({"a": old}), key=Key("task", TASK))
    put(cache, (old,), key=Key("sessions", TASK))
    cache.item("p", event("session.updated", 2, new.model_dump(mode="json")))
    shown = [cache.look(key) for key in (A, Key("task", TASK), Key("sessions", TASK))]
    assert shown[0] is not None
    assert shown[0].value == new
    assert shown[1] is not None
    assert shown[1].value.sessions["run"] == new
    assert shown[2] is not None
    assert shown[2].value == (new,)
    assert cache.known(A) is None  # nothing that the server could compare with


def event(type_: str, offset: int, data: Any, session_id: str | None = "a", epoch: str = "e") -> Event:
    """An event of the task, or of a session of it."""
    return Event(
        position=f"{epoch}:{offset}", type=type_, at=AT, project_id="p", task_id=TASK, session_id=session_id, data=data
    )


def test_what_an_event_does_not_show_whole_is_let_go_of(cache: Cache) -> None:
    """A provider session has changed: the session's head may have."""
    put(cache, session("a"))
    cache.item("p", event("provider_session.started", 2, {"id": "u"}))
    assert cache.look(A) is None


def test_an_old_event_changes_nothing(cache: Cache) -> None:
    """A replay tells what was read since."""
    put(cache, session("a", 5), 9)
    cache.item("p", event("session.updated", 4, session("a", 2).model_dump(mode="json")))
    assert (found := cache.look(A)) is not None
    assert found.value.version == 5


def test_a_snapshot_lets_go_of_what_it_does_not_show(cache: Cache) -> None:
    """What it shows is taken; the rest of the project is read again."""
    put(cache, session("a"))
    put(cache, session("b"), key=Key("session", "b"))
    cache.item("p", Snapshot((session("a", 2),), "e:5"))
    assert (found := cache.look(A)) is not None
    assert found.value.version == 2
    assert cache.look(Key("session", "b")) is None
    cache.item("p", Snapshot((), "e:9", too_large=True))
    assert cache.look(A) is not None


def test_an_answer_from_before_a_snapshot_is_not_held(cache: Cache) -> None:
    """Whatever it is about."""
    cache.item("p", Snapshot((), "e:5"))
    put(cache, session("b"), 4, Key("session", "b"))
    assert cache.look(Key("session", "b")) is None


def test_another_life_of_the_log_voids_what_was_read(cache: Cache) -> None:
    """Positions of two lives cannot be compared: what was asked for before is not held, what comes after is."""
    put(cache, session("a", 9), 90)
    began = cache.now
    cache.item("p", event("session.updated", 3, session("a", 2).model_dump(mode="json")))
    cache.item("p", event("session.updated", 1, session("a", 1).model_dump(mode="json"), epoch="f"))
    assert cache.look(A) is None
    cache.store(A, Fetched(session("a", 9), None, Position("e", 91), began))
    assert cache.look(A) is None
    put(cache, session("a", 1), 1, epoch="f")
    assert cache.look(A) is not None


@pytest.mark.parametrize("position", [None, "e:7"])
def test_a_write_lets_go_and_keeps_older_answers_out(cache: Cache, position: str | None) -> None:
    """A read that was asked for before is not held, whether the write was answered or not."""
    put(cache, session("a"))
    put(cache, (session("a"),), key=Key("sessions", TASK))
    began = cache.now
    answer = None if position is None else Answer("u", 200, {"x-position": position}, b"{}")
    cache.wrote("/v1/sessions/a", {"status": "idle"}, answer)
    assert [cache.look(key) for key in (A, Key("sessions", TASK))] == [None, None]
    cache.store(A, Fetched(session("a"), None, Position("e", 6), began))
    cache.store(Key("sessions", TASK), Fetched((session("a"),), None, Position("e", 6), began))
    assert [cache.look(key) for key in (A, Key("sessions", TASK))] == [None, None]
    put(cache, session("a", 2), 7)
    assert cache.look(A) is not None


def test_two_reads_of_one_thing_agree(cache: Cache) -> None:
    """A list that is read later corrects the session, and lets go of one that is not in it any more."""
    put(cache, session("a"), 1)
    put(cache, session("b"), 1, Key("session", "b"))
    put(cache, (session("a", 3),), 5, Key("sessions", TASK))
    assert (found := cache.look(A)) is not None
    assert found.value.version == 3
    assert cache.look(Key("session", "b")) is None


@pytest.mark.parametrize(
    ("path", "body", "document", "names"),
    [
        ("/v1/sessions/a/output", {"chunks": []}, b'{"first": 1}', {"session:a"}),
        ("/v1/sessions/a", {}, b'{"id": "a", "task_id": "t", "phase": "run"}', {"session:a", "task:t", "sessions:t"}),
        ("/v1/tasks/t", {"title": "x"}, b'{"id": "t"}', {"task:t", "sessions:t"}),
        (
            "/v1/tasks/t/sessions",
            {"phase": "run"},
            (b'{"session": {"id": "b", "task_id": "t", "phase": "run"}, '
            b'"replaced": {"id": "a", "task_id": "t", "phase": "run"}}'),
            {"session:a", "session:b", "task:t", "sessions:t"},
        ),
        ("/v1/provider-sessions/u", {}, b'{"id": "u", "session_id": "a", "task_id": "t"}',
         {"session:a", "task:t", "sessions:t"}),
        ("/v1/provider-sessions/u/resume-failed", {}, b"{}", {"all"}),
        ("/v1/projects/p/sessions/bulk", {"delete": [{"session_id": "a"}]}, b'{"delete": [{"status": 204}]}',
         {"session:a"}),
        ("/v1/projects/p/sessions/bulk", {"delete": []}, None, {"all"}),
        ("/v1/projects/p/models/m", None, b"", {"all"}),
        ("/v1/admin/flags/x", {}, b"no json", {"all"}),
        ("/v1/projects/p/tasks", {"title": "T"}, b'{"id": "t"}', set()),
        ("/v1/client-reports", {"session_id": "a"}, b"", set()),
        ("/v1/tasks/t/sessions", {}, b"no json", {"task:t", "sessions:t"}),
    ],
)  # fmt: skip
def test_writes_name_what_they_change(path: str, body: Any, document: bytes | None, names: set[str]) -> None:
    """By their path, their body or their answer; `all` where they do not."""
    found = touched(path, body, None if document is None else Answer("u", 200, {}, document))
    assert {f"{kind}:{id_}" for kind, id_ in found.names} | ({"all"} if found.all else set()) == names


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/sessions/a", ("session", "a")),
        ("/v1/tasks/t", ("task", "t")),
        ("/v1/tasks/t/sessions", ("sessions", "t")),
        ("/v1/sessions/a/output", None),
        ("/health/live", None),
    ],
)
def test_reads_are_known_by_their_path(path: str, name: tuple[str, str] | None) -> None:
    """Those that are cached."""
    assert read_of(path) == name


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.sampled_from("abct"), st.sampled_from(["update", "output", "delete", "task"])),
        st.tuples(st.just("ask"), st.sampled_from(KEYS), st.integers(0, 3)),
        st.tuples(st.just("answer"), st.integers(0, 5)),
        st.tuples(st.just("read"), st.sampled_from(KEYS)),
        st.tuples(st.just("event")),
        st.tuples(st.just("late event"), st.integers(0, 5)),
        st.tuples(st.just("write"), st.sampled_from("ab"), st.booleans()),
        st.tuples(st.just("snapshot")),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 9.0, 65.0])),
    ),
    min_size=6,
    max_size=30,
)


@settings(max_examples=600, deadline=None)
@given(steps=STEPS)
def test_nothing_is_older_than_what_was_seen(steps: list[tuple[Any, ...]]) -> None:
    """However answers, events, snapshots and writes overtake each other, what is given is at least what was seen."""
    world = World()
    asked: list[tuple[Key, Fetched]] = []
    told = 0
    for step in steps:
        match step:
            case ["change", id_, what]:
                world.change(id_, what)
            case ["ask", key, behind]:  # a node may be behind
                offset = max(0, world.head - behind)
                if world.is_there(key, offset):
                    asked.append((key, world.fetched(key, offset, world.cache.now)))
            case ["answer", which] if asked:
                take(world, *asked.pop(which % len(asked)))
            case ["read", key] if world.is_there(key, world.head):
                take(world, key, world.fetched(key, world.head, world.cache.now))
            case ["event"] if told < world.head:
                told += 1
                see(world, told)
            case ["late event", back] if told > back:
                see(world, told - back)
            case ["write", id_, answered]:
                world.change(id_, "update")
                world.cache.wrote(f"/v1/sessions/{id_}", {}, world.answer(world.head) if answered else None)
                if answered:
                    world.see(world.head)
            case ["snapshot"]:
                world.snapshot()
                told = max(told, world.head)
            case ["wait", seconds]:
                world.time += seconds
        for key in KEYS:
            found = world.cache.look(key)
            assert found is None or world.is_new_enough(key, found.value), (key, step)


def take(world: World, key: Key, answer: Fetched) -> None:
    """The client gets an answer; what is current is given to who asked."""
    current = world.cache.is_current(key, answer)
    assert not current or world.is_new_enough(key, answer.value), "what is called current is not"
    world.cache.store(key, answer)
    if current and answer.place is not None:
        world.see_state(key, answer.place.offset)


def see(world: World, offset: int) -> None:
    """The client gets an event."""
    happened = world.events[offset]
    assert happened is not None
    world.cache.item("p", happened)
    world.see(offset)
