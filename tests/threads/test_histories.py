"""Anything that can be done to a thread, in any order, beside a plain model of the rules."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from sessioncast_server.db.statement import Statement
from sessioncast_server.db.transaction import Staged, WriteTx
from sessioncast_server.problems import Problem
from sessioncast_server.projects.service import put_project
from sessioncast_server.threads import changes
from sessioncast_server.threads.messages import after, newest
from sessioncast_server.threads.rules import Item, Owned, calls_of, leads, role_of
from sessioncast_server.threads.service import get_thread, turn_of
from sessioncast_server.threads.tables import MessageCallRow
from sessioncast_server.threads.turn import lapse_place
from sessioncast_server.turns.service import held_places, leave_queue
from support.store import PROJECT, Store, opened
from support.threadfold import Fold
from support.threadmodel import ThreadModel
from support.threads import new_uuid, terms

_CALL = MessageCallRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables
_CALLS = Statement(select(func.count().label("calls")).select_from(_CALL))

_READ_BYTES = 1 << 20

call = st.sampled_from("abcd")
several = st.lists(call, min_size=1, max_size=2, unique=True)
contents = st.one_of(
    st.builds(lambda text: {"role": "user", "content": text}, st.sampled_from(["x", "y"])),
    st.just({"type": "reasoning", "id": "rs"}),
    call.map(lambda id_: {"type": "function_call", "call_id": id_}),
    call.map(lambda id_: {"type": "function_call_output", "call_id": id_}),
    several.map(lambda ids: {"role": "assistant", "tool_calls": [{"id": id_} for id_ in ids]}),
    call.map(lambda id_: {"role": "tool", "tool_call_id": id_}),
    several.map(lambda ids: {"role": "assistant", "content": [{"type": "tool_use", "id": id_} for id_ in ids]}),
    several.map(lambda ids: {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id_} for id_ in ids]}),
)
ids = st.sampled_from([None, None, None, "one", "two"])
items = st.lists(st.tuples(contents, ids), min_size=1, max_size=6)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), items),
        st.tuples(st.just("append"), items),
        st.tuples(
            st.sampled_from(["pop", "pop", "clear", "begin", "begin", "end", "end", "lapse", "delete", "outsider"]),
            st.none(),
        ),
    ),
    max_size=14,
)


class Play:
    """One thread, done the same to as its model, all in one transaction."""

    def __init__(self, tx: WriteTx, limit: int) -> None:
        self.tx = tx
        self.terms = terms(limit)
        self.name = Owned(PROJECT, "ann", new_uuid())
        self.model: ThreadModel | None = None
        self.run: str | None = None
        self.told = len(tx.staged)
        self.fold = Fold()
        self.named: dict[str, str] = {}

    def there(self) -> ThreadModel:
        """The model, of a thread that is there."""
        if self.model is None:
            self.model = ThreadModel(self.terms.messages_max)
            self.model.changes.append(("thread.created", ()))
        return self.model

    def append(self, told: list[tuple[Any, str | None]]) -> None:
        """Messages, in the run if there is one."""
        given = [
            Item(role_of(content) or "", content, None if id_ is None else self.named.setdefault(id_, new_uuid()))
            for content, id_ in told
        ]
        answer = changes.add(self.tx, new_uuid(), self.name, given, self.run, self.terms)
        model = self.there()
        lines = [
            model.append(item.content, calls_of(item.content), leads=leads(item.content), id_=item.id) for item in given
        ]
        shown = orjson.loads(answer.body)
        assert answer.status == 201
        assert [message["seq"] for message in shown["data"]] == [line.seq for line in lines]
        assert shown["pruned"] == (0 if self.run else model.prune())

    def pop(self, _: None) -> None:
        """The newest, if there is one."""
        answer = self._meant(changes.take)
        if answer is not None:
            line = self.there().pop()
            message = orjson.loads(answer.body)["message"]
            assert (message and message["seq"]) == (line and line.seq)

    def clear(self, _: None) -> None:
        """All."""
        answer = self._meant(changes.empty)
        if answer is not None:
            self.there().clear()
            assert orjson.loads(answer.body)["message_count"] == 0

    def begin(self, _: None) -> None:
        """A run; while there is one, another does not begin."""
        place = new_uuid()
        answer = changes.begin(self.tx, place, self.name, 60, self.terms)
        self.there()
        if self.run is None:
            assert answer.status == 201
            self.run = place
        else:
            assert (answer.status, answer.note.ahead) == (409, 1)
            leave_queue(self.tx, turn_of(self.name.key), place)

    def end(self, _: None) -> None:
        """The run, which prunes."""
        if self.run is not None:
            assert changes.end(self.tx, self.name, self.run, self.terms).status == 204
            self.run = None
            self.there().prune()

    def lapse(self, _: None) -> None:
        """The run, by a lease that ran out: that prunes, for nobody will end it; if somebody does, nothing happens."""
        if self.run is not None:
            self._lapse(self.run)
            changes.end(self.tx, self.name, self.run, self.terms)
            self.run = None
            self.there().prune()

    def delete(self, _: None) -> None:
        """The thread, whatever is going on in it."""
        if self.model is not None:
            assert changes.remove(self.tx, self.name, None, self.terms).status == 204
            self.model = self.run = None
            with pytest.raises(Problem):
                get_thread(self.tx, self.name)

    def outsider(self, _: None) -> None:
        """Somebody who is not in the run comes in vain."""
        if self.run is not None:
            place = new_uuid()
            answer = changes.add(self.tx, place, self.name, [Item("user", "no")], None, self.terms)
            assert (answer.status, answer.note.ahead) == (409, 1)
            self._lapse(place)  # whoever waits may give no sign either: the run goes on, and prunes nothing
            with pytest.raises(Problem) as caught:
                changes.take(self.tx, place, self.name, place, self.terms)
            assert caught.value.code == "fenced"

    def agree(self) -> None:
        """What is stored, what is read, what was told and the model are one."""
        new = self.tx.staged[self.told :]
        self.told += len(new)
        for event in new:
            self.fold.hear(event)
        model = self.model
        if model is None:
            assert self.fold.thread is None
            return
        thread = get_thread(self.tx, self.name)
        assert (thread.version, thread.message_seq, thread.message_count) == (
            model.version, model.seq, len(model.lines),
        )  # fmt: skip
        expected = [(line.seq, line.content) for line in model.lines]
        up = after(self.tx, thread, 0, 1000, _READ_BYTES)
        assert [(message.seq, message.parsed()["content"]) for message in up.messages] == expected
        assert not up.corrupt
        down = newest(self.tx, thread, 2, _READ_BYTES)
        assert [message.seq for message in down.messages] == [seq for seq, _ in expected[-2:]]
        assert down.more == (len(expected) > 2)
        self.fold.is_shown(thread.resource(self.terms.keep), [orjson.loads(m.resource(self.name)) for m in up.messages])

    def told_alike(self, events: list[Staged]) -> None:
        """The newest thread's events, one for each change."""
        assert self.model is not None
        assert [event.type for event in events] == [what for what, _ in self.model.changes]
        assert [event.version for event in events] == list(range(1, self.model.version + 1))

    def _lapse(self, place: str) -> None:
        """A place was not renewed in time."""
        (lease,) = [lease for lease in held_places(self.tx, "", 1000) if lease.id == place]
        assert lapse_place(self.tx, lease, self.terms)

    def _meant(self, change: Callable[..., Any]) -> Any:
        """The answer of a change, where the thread is there."""
        if self.model is None:
            with pytest.raises(Problem) as caught:
                change(self.tx, new_uuid(), self.name, None, self.terms)
            assert caught.value.status == 404
            return None
        return change(self.tx, new_uuid(), self.name, self.run, self.terms)


class _Undone(Exception):  # noqa: N818  a word, not an error
    """Ends a transaction whose work is not to stay."""


def play(tx: WriteTx, limit: int, told: list[tuple[str, Any]]) -> None:
    """Do it all, looking after each step, and leave nothing of it."""
    part = Play(tx, limit)
    begins = len(tx.staged)
    for what, with_what in told:
        if what == "delete":
            begins = len(tx.staged) + (part.model is not None)
        getattr(part, what)(with_what)
        part.agree()
    if part.model is not None:
        part.told_alike(tx.staged[begins:])
    calls = sum(len(line.calls) for line in part.model.lines) if part.model else 0
    assert tx.one(_CALLS).calls == calls
    raise _Undone


@contextmanager
def running(url: str) -> Iterator[tuple[asyncio.Runner, Store]]:
    """A loop, and a database open in it."""
    with asyncio.Runner() as runner:
        context = opened(url)
        store = runner.run(context.__aenter__())
        try:
            runner.run(put(store))
            yield runner, store
        finally:
            runner.run(context.__aexit__(None, None, None))


async def put(store: Store) -> None:
    """The project."""
    await store.database.write(put_project, PROJECT)


@pytest.mark.parametrize(("database", "examples"), [("sqlite_url", 150), ("migrated_postgres_url", 12)])
def test_whatever_is_done_the_thread_is_right(request: pytest.FixtureRequest, database: str, examples: int) -> None:
    """Appends, pops, clears, prunings, runs, lapses and deletions agree with the model, and so does what is told."""
    with running(request.getfixturevalue(database)) as (runner, store):

        async def once(limit: int, told: list[tuple[str, Any]]) -> None:
            with pytest.raises(_Undone):
                await store.database.write(play, limit, told)

        @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.integers(1, 6), steps)
        def histories(limit: int, told: list[tuple[str, Any]]) -> None:
            runner.run(once(limit, told))

        histories()
