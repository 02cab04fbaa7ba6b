"""The way in: one client per server and caller."""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote
from weakref import WeakSet

from sessioncast.flags import Flags
from sessioncast.items import StreamState
from sessioncast.limits import Limits
from sessioncast.models import Models
from sessioncast.projects import Projects
from sessioncast.sender import OnRetry, Sender
from sessioncast.sessions import Sessions
from sessioncast.subscription import Stream, Subscription
from sessioncast.tasks import Tasks
from sessioncast.tracker import SnapshotWish, Tracker
from sessioncast_shared.events import Kind
from sessioncast_shared.filters import Filter

Ids = str | Iterable[str]


class Client:
    """Talks to one sessioncast server.

    Use it as an async context manager. One event loop, any number of tasks.

    Attributes:
        projects, tasks, sessions, models, flags: requests, by resource.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        token: str | None = None,
        *,
        user: str | None = None,
        limits: Limits | None = None,
        on_retry: OnRetry | None = None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            url: base URL of the server.
            token: bearer token; it travels in the Authorization header only.
            user: whom to act for, where the server runs open or the token may.
            on_retry: called before a request is repeated, with the reason; must not raise.
        """
        self._limits = limits or Limits()
        from sessioncast.transport import Transport  # noqa: PLC0415  the HTTP library takes as long as all the rest

        self._transport = Transport(url, token=token, user=user, limits=self._limits)
        sender = Sender(self._transport, self._limits, on_retry=on_retry)
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self.projects = Projects(sender)
        self.tasks = Tasks(sender)
        self.sessions = Sessions(sender)
        self.models = Models(sender)
        self.flags = Flags(sender)

    def subscribe(
        self,
        project: str,
        *,
        task: Ids = (),
        session: Ids = (),
        thread: Ids = (),
        kinds: Iterable[Kind | str] | None = None,
        position: str | None = None,
        snapshot: SnapshotWish = "auto",
        transport: Literal["sse", "websocket"] = "sse",
        on_state: Callable[[StreamState], None] | None = None,
    ) -> Subscription:
        """What happens in a project from now on, or from `position` on, as an async iterator.

        It reconnects by itself, for as long as it takes. Leave it by `aclose`, or use it as an async context manager.

        Args:
            task, session, thread: ids; any of them; a task covers its sessions. None at all: the whole project.
            kinds: narrows what comes: `task`, `session`, `output`, …
            position: of an earlier subscription with the same filter.
            snapshot: `auto`: when there is no usable position; `always`: at first, too; `never`: a gap is told of only.
            on_state: called when the connection's state changes; must not raise.

        Raises:
            BadFilterError, BadPositionError: an argument cannot be one.
        """
        wanted = Filter.of(tasks=_ids(task), sessions=_ids(session), threads=_ids(thread), kinds=kinds)
        path = f"/v1/projects/{quote(project, safe='')}"

        async def open_stream(resume: str | None, wish: SnapshotWish) -> Stream:
            if transport == "sse":
                from sessioncast.stream_sse import open_sse  # noqa: PLC0415  only what is used is loaded

                return await open_sse(self._transport, path, wanted, position=resume, snapshot=wish)
            from sessioncast.stream_ws import open_websocket  # noqa: PLC0415  the same

            return await open_websocket(self._transport, project, wanted, position=resume, snapshot=wish)

        tracker = Tracker(f"{self._transport.url}{path}", position, snapshot)
        subscription = Subscription(open_stream, tracker, self._limits, on_state=on_state)
        self._subscriptions.add(subscription)
        return subscription

    async def aclose(self) -> None:
        """Close all subscriptions and connections."""
        for subscription in list(self._subscriptions):
            await subscription.aclose()
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _ids(ids: Ids) -> Iterable[str]:
    return (ids,) if isinstance(ids, str) else ids
