"""Memory for the agents of the OpenAI Agents SDK, kept in a thread.

async with Client() as client:
    session = Session("support", client)
    await Runner.run(agent, "Hello", session=session)
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, cast
from uuid import UUID, uuid4, uuid5

from sessioncast.client import Client
from sessioncast.errors import NotFound, SessioncastError
from sessioncast.identity import OPEN_PROJECT
from sessioncast.messages import NewMessage
from sessioncast.shielding import to_the_end
from sessioncast.threadrun import Run
from sessioncast_shared.filters import is_uuid
from sessioncast_shared.threads import Message

try:
    from agents import SessionSettings, TResponseInputItem
    from agents.memory.session_settings import coerce_session_settings, resolve_session_limit
except ImportError as error:
    raise ImportError(
        "sessioncast.integrations.openai_agents needs the OpenAI Agents SDK: pip install 'sessioncast[agents]'"
    ) from error

NAMESPACE = UUID("6f1c9bd3-1d58-4a7e-9a53-6c4b0e7f2d81")
"""Namespace of the ids that names become (RFC 9562, section 5.5)."""

_NO_ROLE = "item"
"""Role of an item that tells none."""

_ROLE_MAX = 200
"""The server takes no longer one."""

_runs: ContextVar[Mapping[tuple[object, ...], Run] | None] = ContextVar("runs", default=None)
"""By thread, the run that the code here is inside of."""


def thread_id(project: str, user: str, name: str) -> str:
    """The id of the thread that a name stands for: the version 5 UUID of the JSON array of the three.

    The array is written without blanks, in UTF-8, only quotes, backslashes and control characters escaped.
    """
    return str(uuid5(NAMESPACE, json.dumps([project, user, name], ensure_ascii=False, separators=(",", ":"))))


class Session:
    """The SDK's session protocol. Its items are the contents of a thread's messages, and come back as they were.

    What an agent says and does is seen live by whoever subscribes to the thread, whose id is `session_id`. The server
    keeps the newest messages (200, as it comes); the others go, tool calls together with their outputs.

    A thread that is not there has no items; the first that are added make it. Plain texts that others said in it, over
    `/chatkit` for instance, are items `{"role", "content"}`.

    A change that was begun is awaited, bounded by the client's limits, also by who is cancelled meanwhile. One that
    failed because the server was away may be made again: the same items, added again next, are there once.

    Attributes:
        session_id: id of the thread.
        session_settings: `limit` is how many items `get_items` gives to who does not say.
        project: of the thread.
    """

    session_id: str
    session_settings: SessionSettings | None

    def __init__(
        self,
        name: str | UUID,
        client: Client,
        *,
        project: str | None = None,
        user: str | None = None,
        session_settings: SessionSettings | dict[str, Any] | None = None,
    ) -> None:
        """Nothing is sent yet. The client stays the caller's, who closes it.

        Args:
            name: a UUID is the thread's id; any other text is a name, which each user has for himself.
            project: has to be there. Without it the only one of the client's token; `default` where the client has no
                token, and that one is made when it is not there.
            user: for whom it is, where the server runs open or the token has the scope `users:act`; without it the
                client's own.

        Raises:
            ValueError: whose the name is, or of which project, cannot be told from the token of the client.
        """
        if not isinstance(client, Client):
            raise TypeError(f"the SDK is async: this needs a sessioncast.Client, not a {type(client).__name__}")
        self.project = _project_of(client, project)
        whose = client.user if user is None else user
        self.session_id = _id_of(name, self.project, whose)
        self.session_settings = (
            SessionSettings() if session_settings is None else coerce_session_settings(session_settings)
        )
        self._threads = client.threads if user is None else client.threads.acting_for(user)
        self._key = (client, self.project, whose, self.session_id)
        self._makes = client.projects.put if project is None and self.project == OPEN_PROJECT else None
        self._closed = False
        # What may or may not have been added: its items as JSON, and the messages with the ids they were sent under.
        self._doubtful: tuple[str, list[NewMessage]] | None = None

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """The items, oldest first.

        Args:
            limit: only so many, the newest; less than 0: all. None: as `session_settings` says.
        """
        self._check_open()
        limit = resolve_session_limit(limit, self.session_settings)
        last = None if limit is None or limit < 0 else limit
        try:
            messages = await self._threads.messages(self.project, self.session_id, last=last)
        except NotFound:
            return []
        return [_item(message) for message in messages]

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Add items at the end, all of them or none.

        Over 1,000, or over 1 MiB (`Limits.body_bytes`), go in several appends: nobody comes between, but if the server
        is away in the middle only the first are there.

        Raises:
            TooLarge: one item alone is too large; nothing was added.
            TypeError, ValueError: one is no JSON that can be sent (NaN and halves of characters are none); nothing was
                added.
            SessioncastError: the server would not, or was away for too long.
        """
        self._check_open()
        if items:
            await to_the_end(self._add(items))

    async def pop_item(self) -> TResponseInputItem | None:
        """Take the newest item away; None: there is none."""
        self._check_open()
        return await to_the_end(self._pop())

    async def clear_session(self) -> None:
        """Take all items away. The thread stays; `delete` takes it away, too."""
        self._check_open()
        await to_the_end(self._clear())

    @asynccontextmanager
    async def run(self, *, wait_s: float | None = None, lease_s: float | None = None) -> AsyncIterator[Run]:
        """Have the thread to oneself: nobody else adds to it, or takes away, while this `async with` lasts.

        What is done here with this thread is done in the run, by any `Session` of the same client; also in tasks that
        are begun here. One inside of another is the same one.

        Args:
            wait_s, lease_s: as for `client.threads.run`.

        Raises:
            SessionBeingModified: others had their turns.
        """
        self._check_open()
        outer = self._run
        if outer is not None:
            yield outer
            return
        await self._settle()
        async with self._threads.run(self.project, self.session_id, wait_s=wait_s, lease_s=lease_s) as run:
            # Tasks that outlive it have a copy: a run that is over counts for none.
            _runs.set({**(_runs.get() or {}), self._key: run})
            try:
                yield run
            finally:
                _runs.set({key: other for key, other in (_runs.get() or {}).items() if other is not run})

    async def delete(self) -> None:
        """Take the thread away, with all that is in it."""
        self._check_open()
        try:
            await to_the_end(self._threads.delete(self.project, self.session_id))
        except NotFound:
            return

    def close(self) -> None:
        """Be done with it: what is called afterwards raises `RuntimeError`. The thread and the client stay."""
        self._closed = True

    def __repr__(self) -> str:
        return f"<Session {self.session_id} in {self.project}>"

    @property
    def _run(self) -> Run | None:
        run = (_runs.get() or {}).get(self._key)
        return None if run is None or run.over else run

    async def _add(self, items: list[TResponseInputItem]) -> None:
        before, self._doubtful = self._doubtful, None
        told = json.dumps(items)
        messages = before[1] if before is not None and before[0] == told else [_message(item) for item in items]
        try:
            await self._append(messages)
        except SessioncastError:
            self._doubtful = told, messages
            raise

    async def _append(self, messages: list[NewMessage]) -> None:
        parts = self._threads.parts(messages)
        run = self._run
        if run is None and len(parts) == 1:
            await self._settle()
            await self._threads.append(self.project, self.session_id, parts[0])
            return
        async with self.run() as run:
            for part in parts:
                await run.append(part)

    async def _settle(self) -> None:
        """Make the project that there always is."""
        if self._makes is not None:
            await self._makes(self.project)
            self._makes = None

    async def _pop(self) -> TResponseInputItem | None:
        run = self._run
        try:
            message = await (self._threads.pop(self.project, self.session_id) if run is None else run.pop())
        except NotFound:
            return None
        return None if message is None else _item(message)

    async def _clear(self) -> None:
        run = self._run
        try:
            await (self._threads.clear(self.project, self.session_id) if run is None else run.clear())
        except NotFound:
            return

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the session is closed")


def _project_of(client: Client, project: str | None) -> str:
    found = project or client.project
    if found is None:
        raise ValueError("the client's token does not have exactly one project: say which by `project`")
    return found


def _id_of(name: str | UUID, project: str, user: str | None) -> str:
    if isinstance(name, UUID) or is_uuid(name):
        return str(name).lower()
    if user is None:
        raise ValueError("the client's token does not tell whose the session is: say `user`, or name it by a UUID")
    return thread_id(project, user, name)


def _message(item: Any) -> NewMessage:
    return NewMessage(item, role=None if _tells_role(item) else _NO_ROLE, id=str(uuid4()))


def _tells_role(item: Any) -> bool:
    if not isinstance(item, Mapping):
        return False
    told = item.get("role") if isinstance(item.get("role"), str) else item.get("type")
    return isinstance(told, str) and 0 < len(told) <= _ROLE_MAX and "\0" not in told


def _item(message: Message) -> TResponseInputItem:
    content = message.content
    if isinstance(content, str) and message.role != _NO_ROLE:
        content = {"role": message.role, "content": content}
    return cast("TResponseInputItem", content)
