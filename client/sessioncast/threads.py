"""Threads: chat histories, each of one user in one project."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from sessioncast.afterwards import Afterwards
from sessioncast.answer import Answer, Query
from sessioncast.decode import decoded
from sessioncast.identity import segment
from sessioncast.limits import Limits
from sessioncast.messages import APPEND_MESSAGES, Item, NewMessage, in_parts, new_messages, too_large
from sessioncast.sender import Sender
from sessioncast.threadrun import Run, RunCalls
from sessioncast.turns import queued, taken
from sessioncast_shared.resources import Page
from sessioncast_shared.threads import Appended, Message, MessagePage, Popped, Thread, ThreadRun, ThreadStats

_PAGE = 200
"""The most that the server lists at once."""


class Threads:
    """`client.threads`.

    A thread is the caller's own, named by itself or by its id, a UUID; two users who say the same id mean two threads.
    Where a `user` is taken, it names another's, which needs the scope `threads:read_all`.

    What changes a thread waits for its turn, for at most `wait_s` (0 to 60; without it as the server is set) if others
    are at it, and raises `SessionBeingModified` if it does not come. With the id of a `run` it need not wait: it is
    done at once, or `Fenced` is raised, because the run is over.
    """

    def __init__(
        self, sender: Sender, limits: Limits, afterwards: Afterwards, *, headers: Mapping[str, str] | None = None
    ) -> None:
        self._sender = sender
        self._limits = limits
        self._afterwards = afterwards
        self._headers = dict(headers or {})

    def acting_for(self, user: str) -> "Threads":
        """The same for a user: what they do is done as theirs. A token needs the scope `users:act` for others."""
        return Threads(self._sender, self._limits, self._afterwards, headers={**self._headers, "X-User": user})

    async def create(
        self,
        project: str,
        *,
        id: str | None = None,  # noqa: A002  as the resource calls it
        title: str | None = None,
    ) -> Thread:
        """Create a thread; one of this `id` that is there already is returned as it is."""
        return decoded(Thread, await self._send("POST", _path(project), body=_said(id=id, title=title)))

    async def get(self, project: str, thread: Thread | str, *, user: str | None = None) -> Thread:
        """Read it.

        Raises:
            NotFound: there is none, or it is not yours to know of.
        """
        return decoded(Thread, await self._send("GET", _path(project, thread), query=_query(user=user)))

    async def list(self, project: str, *, user: str | None = None, everybody: bool = False) -> AsyncIterator[Thread]:
        """The caller's threads, newest first, page by page; with `everybody` all users', as with a `user`."""
        after: str | None = None
        while True:
            query = _query(user=user, all="true" if everybody else None, limit=_PAGE, after=after)
            page = decoded(Page[Thread], await self._send("GET", _path(project), query=query))
            for thread in page.data:
                yield thread
            after = page.next
            if after is None:
                return

    async def delete(self, project: str, thread: Thread | str) -> str | None:
        """Delete it, its messages too, at once, also in the middle of somebody's run.

        Returns:
            The position that the deletion is visible from.

        Raises:
            NotFound: there is none.
        """
        return (await self._send("DELETE", _path(project, thread))).position

    async def messages(
        self,
        project: str,
        thread: Thread | str,
        *,
        last: int | None = None,
        after: int | None = None,
        user: str | None = None,
    ) -> Sequence[Message]:
        """Its messages, oldest first.

        Args:
            last: only so many, the newest.
            after: only those with a larger `seq`.

        Raises:
            NotFound: there is no such thread.
        """
        if last is not None and last <= 0:
            return []
        path = _path(project, thread, "messages")
        found: list[Message] = []
        # The newest are asked for first where only they are wanted. By `seq` nothing comes twice, whatever happens
        # between two pages.
        order = "asc" if last is None else "desc"
        place = str(after) if last is None and after is not None else None
        while True:
            limit = _PAGE if last is None else min(_PAGE, last - len(found))
            query = _query(order=order, limit=limit, after=place, user=user)
            page = decoded(MessagePage, await self._send("GET", path, query=query))
            found += page.data
            place = page.next
            if place is None or not page.data or (last is not None and len(found) >= last):
                break
        if last is None:
            return found
        return [message for message in reversed(found) if after is None or message.seq > after]

    async def append(
        self,
        project: str,
        thread: Thread | str,
        items: Item | Iterable[Item],
        *,
        run: Run | str | None = None,
        wait_s: float | None = None,
    ) -> Sequence[Message]:
        """Append messages, all of them or none; the thread is made if it is not there.

        Each item is one message. A mapping, or a model of pydantic's, is stored whole as its content: the item of an
        AI's SDK comes back as it was. The server takes its role from it, from `role` or `type`. For anything else say
        the role: `say` a text, or append a `NewMessage`. A `Message` is appended as a new one of the same role and
        content. Old messages that there is no room for go.

        Who asks again after a `ConnectionLost` appends twice, unless the messages are `NewMessage`s with ids.

        Returns:
            Them, also those that were there already, by their ids.

        Raises:
            TooLarge: over 1,000 messages, or more than `Limits.body_bytes`; nothing was sent. `parts` cuts it, and in a
                run nobody comes between the parts.
            Fenced: the run is over.
            SessionBeingModified: others had their turns.
            Invalid: an item does not tell its role, or is nothing that can be kept.
            TypeError, ValueError: an item is none, or no JSON; nothing was sent.
        """
        messages = new_messages(items)
        if len(messages) > APPEND_MESSAGES:
            raise too_large(f"{len(messages)} messages are more than {APPEND_MESSAGES}, the most for one append.")
        parts = in_parts(messages, self._limits.body_bytes)
        if len(parts) > 1:
            raise too_large(f"The messages do not go into one request of {self._limits.body_bytes} bytes.")
        if not parts:
            return []
        body = {"messages": [message.wire() for message in messages], **_said(run=_run(run), wait_s=wait_s)}
        return decoded(Appended, await self._change(_path(project, thread, "messages"), body)).data

    def parts(self, items: Item | Iterable[Item]) -> Sequence[Sequence[NewMessage]]:
        """The items, in order, in parts that `append` takes.

        Raises:
            TooLarge: one is too large by itself.
        """
        return in_parts(new_messages(items), self._limits.body_bytes)

    async def say(
        self,
        project: str,
        thread: Thread | str,
        role: str,
        text: str,
        *,
        run: Run | str | None = None,
        wait_s: float | None = None,
    ) -> Message:
        """Append a plain text that somebody says: its content is the text."""
        return (await self.append(project, thread, NewMessage(text, role=role), run=run, wait_s=wait_s))[0]

    async def pop(
        self, project: str, thread: Thread | str, *, run: Run | str | None = None, wait_s: float | None = None
    ) -> Message | None:
        """Take the newest message away; None: there is none.

        Raises:
            NotFound: there is no such thread.
            Fenced, SessionBeingModified: as for `append`.
        """
        body = _said(run=_run(run), wait_s=wait_s)
        return decoded(Popped, await self._change(_path(project, thread, "pop"), body)).message

    async def clear(
        self, project: str, thread: Thread | str, *, run: Run | str | None = None, wait_s: float | None = None
    ) -> Thread:
        """Take all messages away; the thread stays, and goes on counting them.

        Raises:
            NotFound: there is no such thread.
            Fenced, SessionBeingModified: as for `append`.
        """
        body = _said(run=_run(run), wait_s=wait_s)
        return decoded(Thread, await self._change(_path(project, thread, "clear"), body))

    async def stats(self, project: str, thread: Thread | str, *, user: str | None = None) -> ThreadStats:
        """How many messages it has, how old it is, and until when it is kept."""
        answer = await self._send("GET", _path(project, thread, "stats"), query=_query(user=user))
        return decoded(ThreadStats, answer)

    def run(
        self, project: str, thread: Thread | str, *, wait_s: float | None = None, lease_s: float | None = None
    ) -> Run:
        """Have a thread to oneself: nobody else changes it while this `async with` lasts. It is made if need be.

        Entering waits for the turn, as a change does. Cancelled it is over at once; the place in the queue, or the turn
        if it has come, is given up in the background.

        Args:
            lease_s: 1 to 3600, instead of the limits' own: who is silent for so long has lost it.
        """
        path = _path(project, thread, "runs")
        lease_s = self._limits.lease_s if lease_s is None else lease_s
        calls = RunCalls(
            begin=partial(self._begin, path, _said(wait_s=wait_s, lease_s=lease_s)),
            renew=partial(self._renew, path),
            end=partial(self._end, path),
        )
        return Run(self, calls, self._limits, self._afterwards, project, thread)

    async def _begin(self, path: str, wishes: Mapping[str, Any]) -> ThreadRun:
        async def ask(wishes: Mapping[str, Any], key: str) -> ThreadRun:
            answer = await queued(self._sender, self._limits, path, wishes, key=key, headers=self._headers)
            return decoded(ThreadRun, answer)

        return await taken(
            ask,
            wishes,
            give_up=lambda run: self._end(path, run.id),
            afterwards=self._afterwards,
            within_s=self._limits.give_up_s,
        )

    async def _renew(self, path: str, run: str, within_s: float) -> None:
        await self._send("PATCH", f"{path}/{quote(run, safe='')}", body={}, deadline_s=within_s)

    async def _end(self, path: str, run: str) -> None:
        await self._send("DELETE", f"{path}/{quote(run, safe='')}", deadline_s=self._limits.close_s)

    async def _change(self, path: str, body: Mapping[str, Any]) -> Answer:
        if "run" in body:
            return await self._send("POST", path, body=body)
        return await queued(self._sender, self._limits, path, body, headers=self._headers)

    async def _send(
        self, method: str, path: str, *, query: Query = (), body: Any = None, deadline_s: float | None = None
    ) -> Answer:
        return await self._sender.send(
            method, path, query=query, body=body, headers=self._headers, deadline_s=deadline_s
        )


def _path(project: str, thread: Thread | str | None = None, *below: str) -> str:
    path = f"/v1/projects/{quote(project, safe='')}/threads"
    return path if thread is None else "/".join([path, segment(thread), *below])


def _run(run: Run | str | None) -> str | None:
    return run.id if isinstance(run, Run) else run


def _said(**wishes: Any) -> dict[str, Any]:
    return {name: value for name, value in wishes.items() if value is not None}


def _query(**wishes: Any) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in wishes.items() if value is not None]
