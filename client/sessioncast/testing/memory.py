"""A double of a server, in memory."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote

from sessioncast.answer import Answer, Query
from sessioncast.errors import ProblemError
from sessioncast.limits import Limits
from sessioncast.problems import problem_error
from sessioncast.stats import Counters
from sessioncast.streams.statuses import Statuses
from sessioncast.streams.ways import TransportName, TransportWish
from sessioncast.testing.channel import Channel, Putable
from sessioncast.testing.memorystream import MemoryStream, MemoryWays
from sessioncast.testing.replies import Asked, Reply, Script, problem, reply_of
from sessioncast_shared.filters import Filter
from sessioncast_shared.providers import ProviderSession
from sessioncast_shared.threads import Message


class MemoryBackend:
    """`Client(backend=MemoryBackend())`: no server, no sockets, and everything happens when the test says so.

    What is put is told to subscriptions and mirrors as the server would, and read by `client.sessions.get`,
    `client.sessions.list` and `client.tasks.get`; whatever else the program asks for is answered as `answer` says.
    Its methods may be called from any thread. A project exists from the first time that it is named.

    Attributes:
        asked: the requests that came, oldest first.
    """

    def __init__(self, *, limits: Limits | None = None, transport: TransportName = "websocket") -> None:
        """It is empty.

        Args:
            transport: what subscriptions that wish for none are told to run over.
        """
        self.url = "memory://sessioncast"
        self.limits = limits or Limits()
        self.counters = Counters()
        self.asked: list[Asked] = []
        self._transport: TransportName = transport
        self._channels: dict[str, Channel] = {}
        self._scripts: dict[tuple[str, str], Script] = {}
        self._streams: list[MemoryStream] = []
        self._refusal: ProblemError | None = None

    def put(self, *resources: Putable) -> str:
        """These are so now: tasks, sessions, provider sessions, threads, messages. A session with `deleted_at` leaves.

        Returns:
            The position that they are visible from.
        """
        for resource in resources:
            channel = self._channel_of(resource)
            channel.put(resource)
            self._tell(channel)
        return channel.position

    def emit(
        self,
        type: str,  # noqa: A002  its name everywhere else
        data: Mapping[str, Any],
        *,
        project: str,
        task_id: str | None = None,
        session_id: str | None = None,
        thread_id: str | None = None,
    ) -> str:
        """An event, as the server would word it; what it changes is changed.

        Returns:
            Its position.

        Raises:
            ProtocolError: of a type that is known, `data` is not what it should be.
        """
        channel = self.channel(project)
        event = channel.emit(type, data, task_id=task_id, session_id=session_id, thread_id=thread_id)
        self._tell(channel)
        return event.position

    def answer(self, method: str, path: str, reply: Script) -> None:
        """Requests of this method and path (without its query) are answered so from now on.

        Args:
            reply: a JSON document, a resource, a `Reply`, an exception that is to be raised (`ConnectionLost` is a
                server that is away), or a function of `Asked`, async or not, that gives one of these.
        """
        self._scripts[method, path] = reply

    def refuse(self, status: int, code: str = "", detail: str = "refused", **fields: Any) -> None:
        """Requests and new streams are refused from now on; `accept` ends that. Streams that are open go on."""
        self._refusal = problem_error(status, {"status": status, "code": code, "detail": detail, **fields})

    def accept(self) -> None:
        """Nothing is refused any more."""
        self._refusal = None

    def cut(self) -> None:
        """All streams break; they may be opened again at once."""
        for stream in self._streams:
            stream.cut()
        self._streams.clear()

    def gap(self, reason: str = "expired") -> None:
        """All streams break, and whoever comes back is told that what happened meanwhile is gone."""
        for channel in self._channels.values():
            channel.forget(reason)
        self.cut()

    def resync(self, reason: str = "too_slow") -> None:
        """All streams are told that they go on from a snapshot."""
        for stream in self._streams:
            stream.resync(reason)

    def silence(self) -> None:
        """Nothing more comes on the streams that are open, not even heartbeats; new ones are not silent.

        A client notices after `Limits.idle_s`.
        """
        for stream in self._streams:
            stream.silent = True
        self._streams.clear()

    def channel(self, project: str) -> Channel:
        """A project's log and state."""
        return self._channels.setdefault(project, Channel(project))

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,  # noqa: ARG002  nothing takes any time
    ) -> Answer:
        """See `Backend`."""
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        asked = Asked(method, path, dict(query), json.loads(content) if content else None, sent)
        self.asked.append(asked)
        script = self._scripts.get((method, path))
        channel = None
        if self._refusal is not None:
            reply = Reply(self._refusal.document, self._refusal.status)
        elif script is not None:
            reply = await reply_of(script, asked)
        else:
            channel, reply = self._state(asked, query)
        position = None if channel is None else channel.position
        answer = reply.answer(self.url + path, position=position, condition=sent.get("if-none-match"))
        self.counters.received(len(answer.body), answer.url)
        return answer

    def ways(self, project: str, wanted: Filter, wish: TransportWish, statuses: Statuses) -> MemoryWays:  # noqa: ARG002  it has no pace
        """See `Backend`."""
        transport = self._transport if wish == "auto" else wish
        return MemoryWays(self.counters, transport, partial(self._open, project, wanted))

    async def aclose(self) -> None:
        """See `Backend`."""
        self.cut()

    def _open(self, project: str, wanted: Filter, position: str | None, wish: str) -> MemoryStream:
        if self._refusal is not None:
            raise self._refusal
        stream = MemoryStream(self.channel(project), wanted, self.limits, position=position, wish=wish)
        self._streams = [one for one in self._streams if not one.closed]
        self._streams.append(stream)
        return stream

    def _tell(self, channel: Channel) -> None:
        for stream in self._streams:
            if stream.channel is channel:
                stream.wake()

    def _channel_of(self, resource: Putable) -> Channel:
        if isinstance(resource, ProviderSession):
            found = [one for one in self._channels.values() if resource.session_id in one.sessions]
        elif isinstance(resource, Message):
            key = resource.user, resource.thread_id
            threads = {
                (one.user, one.id): channel for channel in self._channels.values() for one in channel.mirror.threads
            }
            found = [threads[key]] if key in threads else []
        else:
            return self.channel(resource.project_id)
        if not found:
            raise KeyError("put what it belongs to first: its session, or its thread")
        return found[0]

    def _state(self, asked: Asked, query: Query) -> tuple[Channel | None, Reply]:
        """What is read from what was put."""
        match asked.method, [unquote(part) for part in asked.path.strip("/").split("/")]:
            case "POST", ["v1", "client-reports"]:
                return None, Reply(status=204)
            case "GET", ["v1", "projects", project, "events"]:
                channel = self.channel(project)
                return channel, Reply(_poll(channel, query, asked.query))
            case "GET", ["v1", "sessions", id_]:
                for channel in self._channels.values():
                    if id_ in channel.sessions:
                        return channel, Reply(channel.sessions[id_])
                return None, problem(404, "not_found", f"no session {id_} was put")
            case "GET", ["v1", "tasks", id_, *rest] if rest in ([], ["sessions"]):
                for channel in self._channels.values():
                    if id_ in channel.mirror.tasks:
                        return channel, Reply(_list(channel, id_, asked.query) if rest else _task(channel, id_))
                return None, problem(404, "not_found", f"no task {id_} was put")
        return None, problem(404, "not_found", f"nobody said what {asked.method} {asked.path} answers: use `answer`")


def _task(channel: Channel, id_: str) -> dict[str, Any]:
    live = [one for one in channel.mirror.sessions.values() if one.task_id == id_]
    sessions = {f"{one.phase}{'.debug' if one.debug else ''}": one for one in live}
    return {**channel.mirror.tasks[id_].model_dump(mode="json"), "sessions": sessions}


def _list(channel: Channel, id_: str, query: Mapping[str, str]) -> dict[str, Any]:
    live = [one for one in channel.mirror.sessions.values() if one.task_id == id_]
    wanted = [one for one in live if query.get("phase", one.phase) == one.phase
              and query.get("debug", str(one.debug).lower()) == str(one.debug).lower()]  # fmt: skip
    return {"data": sorted(wanted, key=lambda one: one.created_at, reverse=True), "next": None}


def _poll(channel: Channel, query: Query, single: Mapping[str, str]) -> dict[str, Any]:
    named = {kind: [value for name, value in query if name == kind] for kind in ("task", "session", "thread")}
    kinds = single["kinds"].split(",") if "kinds" in single else None
    wanted = Filter.of(tasks=named["task"], sessions=named["session"], threads=named["thread"], kinds=kinds)
    position = single.get("position")
    here = {"position": channel.position, "more": False}
    if position is not None and channel.gap(position) is None:
        return {"state": "resumed", "events": channel.since(position, wanted), **here}
    state = "snapshot" if position is None else "gap"
    return {"state": state, "resources": channel.resources(wanted), "events": [], **here}
