"""Threads of two users, of the same ids, at two nodes: whatever is done at once, none holds or shows another's."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from support.api import problem
from support.chat import Talk, at_once
from support.chatmodel import Mirror
from support.chatnode import House, house_of
from support.chatwatcher import Watcher

USERS = ("ann", "bob")
SLOTS = [(user, number) for user in USERS for number in range(2)]
LIMIT = 8

pytestmark = pytest.mark.xdist_group("threads of two users")  # they share nodes


@pytest.fixture(scope="module", params=["two", "redis"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Two nodes on one PostgreSQL, without Redis and with, whose responder tells all that it knows."""
    more = {"responder": "teller", "SESSIONCAST_THREAD_MAX_MESSAGES": str(LIMIT)}
    with house_of(request, tmp_path_factory, request.param, **more) as found:
        yield found


class Story:
    """Two threads of each of two users, the same ids for both, and who watches them at either node."""

    def __init__(self, house: House, stack: ExitStack) -> None:
        first = house.talk()
        ids = (first, first.beside())
        self.talks = {(user, number): ids[number].acting(sub=user) for user, number in SLOTS}
        for talk in self.talks.values():
            talk.made()
        self.watchers = [
            (
                user,
                stack.enter_context(
                    Watcher(ids[0].at(api).acting(sub=user).api, first.project, *(id_.id for id_ in ids))
                ),
            )
            for user, api in zip((*USERS, *USERS), (*house.apis, *house.apis[::-1]), strict=True)
        ]
        self._house = house
        self._labels = count(1)
        self._made: dict[tuple[str, int], list[str]] = {slot: [] for slot in SLOTS}

    def call(self, step: tuple[tuple[str, int], int, str]) -> Any:
        """A step, to be made in a thread."""
        slot, node, what = step
        label = f"{slot[0]}{slot[1]}-{next(self._labels)}"
        if what in ("line", "append", "run"):
            self._made[slot].append(label)
        return partial(self._make, what, label, slot[0], self.talks[slot].at(self._house.apis[node]))

    def _make(self, what: str, label: str, user: str, talk: Talk) -> None:
        match what:
            case "line":
                assert talk.say(label).startswith(f"{user}/{talk.id}: {label} <- ")
            case "append":
                assert [(one["content"], one["thread_id"]) for one in talk.appended(label)] == [(label, talk.id)]
            case "pop":
                assert user in str(talk.popped() or user)
            case "clear":
                thread = talk.api.ok(talk.post("clear"), 200)
                assert (thread["user"], thread["message_count"]) == (user, 0)
            case "run":
                with talk.running() as run:
                    talk.appended(label, run=run)
                    assert talk.contents()[-1] == label, "somebody else wrote in a run"
                    assert talk.popped(run=run)["content"] == label
                    talk.appended(label, run=run)

    def check(self) -> None:
        """Each thread holds what was made in it, each answer is from its own thread, and nobody saw another's."""
        log: dict[str, list[dict[str, Any]]] = {user: [] for user in USERS}
        for (user, number), talk in self.talks.items():
            events = talk.own_events()
            Mirror(user, talk).take(events).is_whole()
            assert talk.get()["message_count"] == len(talk.whole()) <= LIMIT
            lines = {event["data"]["content"] for event in events if event["type"] == "message.created"}
            assert {line for line in lines if "/" not in line} == set(self._made[user, number])
            log[user] += events
        for user, watcher in self.watchers:
            wanted = sorted((event["position"] for event in log[user]), key=_offset)
            later = [position for position in wanted if _offset(position) > _offset(watcher.since)]

            def seen(watcher: Watcher = watcher) -> list[str]:
                return [event["position"] for event in tuple(watcher.events) if "position" in event]

            watcher.until(lambda: len(seen()) >= len(later), "all events")  # noqa: B023  awaited here
            assert seen() == later
            for event in tuple(watcher.events):
                if event["type"] == "message.delta":
                    assert event["data"]["user"] == user
                    assert event["data"]["text"].startswith(f"{user}/{event['thread_id']}: ")


def _offset(position: str) -> int:
    return int(position.partition(":")[2])


steps = st.tuples(
    st.sampled_from(SLOTS),
    st.sampled_from([0, 1]),
    st.sampled_from(["line", "line", "line", "append", "append", "pop", "clear", "run"]),
)
rounds = st.lists(st.lists(steps, min_size=3, max_size=10), min_size=5, max_size=6)


@settings(max_examples=4, derandomize=True, deadline=None, database=None, phases=[Phase.generate])
@given(rounds)
def test_threads_never_meet(house: House, story: list[list[tuple[tuple[str, int], int, str]]]) -> None:
    """Lines, appends, pops, clears and runs at once, at either node: messages, answers and events are each thread's
    own; each answer stands right after its line, and was given from what its thread held then."""
    with ExitStack() as stack:
        told = Story(house, stack)
        for moment in story:
            at_once([told.call(step) for step in moment])
        told.check()
    assert house.stored.places() == 0


def test_nobody_watches_anothers_thread(house: House) -> None:
    """Who has no thread of the id is told that there is none, at either node, whatever others have."""
    talk = house.talk().made()
    for api in house.apis:
        eve = talk.at(api).acting(sub="eve")
        for path in (f"/v1/projects/{talk.project}/events?thread={talk.id}", talk.path, f"{talk.path}/messages"):
            problem(eve.api.get(path), 404, "not_found")


def test_pieces_are_shown_to_the_user_alone(house: House) -> None:
    """Who watches his own thread of the same id sees his own answers come, and nothing of the other's."""
    mine = house.talk().made()
    his = mine.acting(sub="bob").made()
    with Watcher(mine.api, mine.project, mine.id) as ann, Watcher(his.api, his.project, his.id) as bob:
        for count, (talk, watcher) in enumerate(((mine, ann), (his, bob), (mine, ann))):
            talk.say("hello")
            turns = count // 2 + 1
            *_, answer = watcher.sees("message.created", count=2 * turns)
            *_, piece = watcher.sees("message.delta", count=turns)
            assert piece["data"]["message_id"] == answer["data"]["id"]
            assert (piece["data"]["index"], piece["data"]["text"]) == (0, answer["data"]["content"])
        for watcher, user, frames in ((ann, "ann", 6), (bob, "bob", 3)):
            assert [event["data"]["user"] for event in watcher.events] == [user] * frames
