"""The way in: one client per server and caller."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

from sessioncast.afterwards import Afterwards
from sessioncast.backend import Backend
from sessioncast.calling import Function
from sessioncast.credentials import TokenSource
from sessioncast.flags import Flags
from sessioncast.identity import project_of, user_of
from sessioncast.iteration import Iteration
from sessioncast.keep_fresh import KeepFresh
from sessioncast.limits import Limits
from sessioncast.models import Models
from sessioncast.projects import Projects
from sessioncast.providers import Fingerprint, Providers
from sessioncast.reports import Reports
from sessioncast.resumable import Baseline, Resumable, ResumeWaits
from sessioncast.sender import OnRetry, Sender
from sessioncast.sessions import Sessions
from sessioncast.stats import Stats
from sessioncast.streams.items import Item, StreamState
from sessioncast.streams.statuses import Statuses
from sessioncast.streams.subscription import Subscription, WhenFull
from sessioncast.streams.tracker import SnapshotWish, Tracker
from sessioncast.streams.ways import TransportWish
from sessioncast.tasks import Tasks
from sessioncast.threads import Threads
from sessioncast.versions import Versions
from sessioncast_shared.events import Kind
from sessioncast_shared.filters import Filter
from sessioncast_shared.providers import ProjectVersion
from sessioncast_shared.resources import Session

if TYPE_CHECKING:  # only what is used is loaded
    from sessioncast.cached import CachedReads
    from sessioncast.live.live import Live

Ids = str | Iterable[str]


class Client:
    """Talks to one sessioncast server.

    Use it as an async context manager. One event loop, any number of tasks.

    Attributes:
        projects, tasks, sessions, providers, versions, models, flags, threads: requests, by resource.
        user: whom they are made for: the one named, else the one whom the token is of (None: it does not tell), else
            `local`, whom a server that runs open takes everybody for.
        project: of what names none: the token's only one (None: it has none, or several), else `default`.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        token: TokenSource | None = None,
        *,
        user: str | None = None,
        limits: Limits | None = None,
        on_retry: OnRetry | None = None,
        backend: Backend | None = None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            url: base URL of the server.
            token: bearer token; it travels in the Authorization header only. Or a function, async or not, that gives a
                fresh one: it is asked first, before one expires, and once more when one was refused.
            user: whom to act for, where the server runs open or the token may.
            on_retry: called before a request is repeated, with the reason; must not raise.
            limits: of requests and streams; without any the backend's.
            backend: instead of a server; `url`, `token` and `user` are its business then.
        """
        self._limits = limits or (Limits() if backend is None else backend.limits)
        if backend is None:
            from sessioncast.transport import Transport  # noqa: PLC0415  the HTTP library takes as long as all the rest

            backend = Transport(url, token=token, user=user, limits=self._limits)
        self._backend: Backend = backend
        sender = self._sender = Sender(backend, self._limits, on_retry=on_retry)
        self._cached: CachedReads | None = None
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self.projects = Projects(sender)
        self.tasks = Tasks(sender)
        self.sessions = Sessions(sender)
        self.models = Models(sender)
        self.flags = Flags(sender)
        self._closed = False
        self._afterwards = Afterwards()
        self.providers = Providers(sender, self._limits, self._afterwards)
        self.versions = Versions(sender)
        self.threads = Threads(sender, self._limits, self._afterwards)
        self._reports = Reports(sender, self._afterwards, backend.counters)
        self.user: str | None
        self.project: str | None
        if callable(token):
            self.user, self.project = user, None  # its first token will tell, and nobody has asked for one yet
        else:
            self.user, self.project = user_of(token, user), project_of(token)

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
        transport: TransportWish = "auto",
        when_full: WhenFull = "error",
        on_state: Callable[[StreamState], None] | None = None,
    ) -> Subscription:
        """What happens in a project from now on, or from `position` on, as an async iterator.

        It reconnects by itself, for as long as it takes. Leave it by `aclose`, or use it as an async context manager.
        Subscriptions over WebSockets share a connection, so what comes for one that is not read waits in a buffer;
        over the others it waits on the server.

        Args:
            task, session, thread: ids; any of them; a task covers its sessions. None at all: the whole project.
            kinds: narrows what comes: `task`, `session`, `output`, …
            position: of an earlier subscription with the same filter.
            snapshot: `auto`: when there is no usable position; `always`: at first, too; `never`: a gap is told of only.
            transport: `auto`: WebSocket, else server-sent events, else polls; whatever works is remembered, and what is
                better is tried again in between.
            when_full: what is to become of it when the buffer is full (`Limits.buffer_bytes`, `Limits.buffer_frames`):
                `error`: when all in it was yielded `SlowConsumer` is raised; `resume`: then it goes on from there, by
                what the server still has, or a gap.
            on_state: called when the connection's state changes; must not raise.

        Raises:
            BadFilterError, BadPositionError, ValueError: an argument cannot be one.
        """
        wanted = Filter.of(tasks=_ids(task), sessions=_ids(session), threads=_ids(thread), kinds=kinds)
        if self._closed:
            raise RuntimeError("the client is closed")
        statuses = Statuses()
        subscription = Subscription(
            self._backend.ways(project, wanted, transport, statuses),
            Tracker(f"{self._backend.url}/v1/projects/{project}", position, snapshot),
            self._limits,
            statuses=statuses,
            when_full=when_full,
            on_state=on_state,
            on_stale=partial(self._reports.stale, project, wanted),
            on_item=partial(self._witness, project),
        )
        self._subscriptions.add(subscription)
        return subscription

    def live(
        self,
        project: str,
        *,
        task: Ids = (),
        session: Ids = (),
        thread: Ids = (),
        kinds: Iterable[Kind | str] | None = None,
        transport: TransportWish = "auto",
        on_state: Callable[[StreamState], None] | None = None,
        check_s: float = 60.0,
    ) -> "Live":
        """The present state of what a subscription covers, kept up for as long as this `async with` lasts.

        Args:
            task, session, thread, kinds, transport, on_state: as for `subscribe`.
            check_s: the whole of it is compared with the server's so often, in seconds.

        Raises:
            BadFilterError, ValueError: an argument cannot be one.
        """
        if not check_s > 0:
            raise ValueError(f"check_s is {check_s}; seconds, more than 0")
        wanted = Filter.of(tasks=_ids(task), sessions=_ids(session), threads=_ids(thread), kinds=kinds)
        subscription = self.subscribe(
            project,
            task=wanted.tasks,
            session=wanted.sessions,
            thread=wanted.threads,
            kinds=wanted.kinds,
            snapshot="always",
            transport=transport,
            on_state=on_state,
            when_full="resume",
        )
        from sessioncast.live.live import live  # noqa: PLC0415  only what is used is loaded

        return live(subscription, self._sender, self._backend.counters, self._reports, project, wanted, check_s=check_s)

    @property
    def cached(self) -> "CachedReads":
        """Reads of sessions and tasks through a cache, which all that this client sees keeps right."""
        if self._cached is None:
            from sessioncast.cached import CachedReads  # noqa: PLC0415  only what is used is loaded

            self._cached = CachedReads(self._sender, self._backend.counters)
        return self._cached

    def stats(self) -> Stats:
        """What it has done so far, in numbers."""
        return self._backend.counters.now()

    def iteration(
        self,
        session: Session | str,
        operation: str = "iteration",
        *,
        iteration: int | None = None,
        agent: Any = None,
        provider_session_id: str | None = None,
        milestone: str | None = None,
        lease_s: float | None = None,
        fence: int | None = None,
    ) -> Iteration:
        """One run of an agent, under an id that nobody else has: nothing to wait for, nothing to be locked out of.

        `async with` it: it gives a `Use`, keeps its lease, and ends it also on exceptions and cancellation; then the id
        is not to be resumed.

        Args:
            iteration: its number.
            agent: its `session_id` is the newest id while this lasts, and afterwards what it was before.
            provider_session_id: that the provider is known to have; without it a fresh UUID to begin with.
            milestone: it works for this one, not for its session's task.
            lease_s: instead of the limits' own.
            fence: of the holder of the session, who is told by `Fenced` if he is none any more.
        """
        return Iteration(
            self.providers,
            self._limits,
            session,
            operation=operation,
            iteration=iteration,
            agent=agent,
            provider_session_id=provider_session_id,
            milestone=milestone,
            lease_s=lease_s,
            fence=fence,
        )

    def resumable(
        self,
        session: Session | str,
        operation: str = "update",
        *,
        project_version: ProjectVersion | None = None,
        agent: Any = None,
        structure_fingerprint: Fingerprint | None = None,
        fork: bool = False,
        wait_s: float | None = None,
        baseline: Baseline | None = None,
        waits: ResumeWaits | None = None,
        iteration: int | None = None,
        milestone: str | None = None,
        lease_s: float | None = None,
    ) -> Resumable:
        """An update that goes on where the last one ended, if that can be done; one of a session at a time.

        `async with` it: it gives an `Attempt`, whose `run` does the work. Entering waits for the turn and may raise
        what `providers.resume` and `providers.open` do. Iterations that are open meanwhile are fenced out.

        Args:
            project_version: names the session; it is read again at the end.
            agent, iteration, milestone, lease_s: as for `iteration`.
            structure_fingerprint, fork, wait_s: as for `providers.resume`.
            baseline: of a fresh run; what was saved against it is reported when an id was resumed.
            waits: between tries of the same id.

        Raises:
            ValueError: `project_version` names another session; nothing was sent.
        """
        return Resumable(
            self.providers,
            self.versions,
            self._limits,
            session,
            operation,
            project_version=project_version,
            agent=agent,
            structure_fingerprint=structure_fingerprint,
            fork=fork,
            wait_s=wait_s,
            baseline=baseline,
            waits=waits,
            iteration=iteration,
            milestone=milestone,
            lease_s=lease_s,
        )

    def keep_fresh(
        self,
        session: Session | str,
        compact: Function,
        *,
        refresh_before: timedelta = timedelta(hours=2),
        look_s: float = 300.0,
    ) -> KeepFresh:
        """Keep the session's id from going stale, in the background, for as long as this `async with` lasts.

        While a provider session with that id is open it is left alone. A `compact` that is not async runs in a thread,
        and leaving waits for it, for at most `Limits.thread_s`.

        Args:
            compact: called with a `Use` whose `resume_id` is to be compacted, under a turn of its own, with the
                operation `compact`.
            refresh_before: it is run so long before the id is stale. By this machine's clock: a difference to the
                server's counts against it.
            look_s: how often it is looked, in seconds; others may use the id meanwhile.

        Raises:
            ValueError: `refresh_before` is not positive.
        """
        update = partial(self.resumable, session, "compact")
        return KeepFresh(self.providers, update, session, compact, refresh_before=refresh_before, look_s=look_s)

    async def aclose(self) -> None:
        """Close all subscriptions and connections.

        What was left in the middle (a turn that was waited for, a provider session that was being opened) is given up
        before: for at most `Limits.give_up_s` and `Limits.close_s`.
        """
        self._closed = True
        for subscription in list(self._subscriptions):
            await subscription.aclose()
        if self._cached is not None:
            await self._cached.aclose()
        try:
            await self._afterwards.aclose()
        finally:
            await self._backend.aclose()

    def _witness(self, project: str, item: Item) -> None:
        if self._sender.witness is not None:
            self._sender.witness.item(project, item)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _ids(ids: Ids) -> Iterable[str]:
    return (ids,) if isinstance(ids, str) else ids
