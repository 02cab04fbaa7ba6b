"""All parts of a node that threads need, put together. What `app.py` does for the node, this does for them."""

from collections.abc import Callable
from datetime import UTC, datetime

from sessioncast_server.broker.base import Route, Whisper
from sessioncast_server.channels.snapshot import Source
from sessioncast_server.db.database import Database
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.exchange.mutator import Mutator
from sessioncast_server.exchange.reader import Reader
from sessioncast_server.jobs.daily import daily
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.parts import chat_terms, make_holder, make_responding, thread_terms
from sessioncast_server.settings import Settings
from sessioncast_server.threads.api import ThreadsApi
from sessioncast_server.threads.chat_api import ChatApi
from sessioncast_server.threads.cleanup import clean_threads
from sessioncast_server.threads.meter import Meter
from sessioncast_server.threads.rules import Owned
from sessioncast_server.threads.service import threads_of_ids
from sessioncast_server.threads.snapshots import ThreadSnapshots
from sessioncast_server.threads.telling import Told, delta
from sessioncast_server.threads.turn import Lapsed, lapse_place
from sessioncast_server.threads.warden import Warden
from sessioncast_server.turns.rules import Lease
from sessioncast_server.turns.waiting import WaitingRoom
from sessioncast_server.web.endpoint import Endpoint
from sessioncast_shared.events import Kind
from sessioncast_shared.filters import Filter


class ThreadParts:
    """Threads on one node.

    Args:
        whisper: says to all who follow what no log holds.
        freed: called when turns may have become free.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        metrics: Metrics,
        *,
        whisper: Callable[[Whisper], None],
        freed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._database = database
        self._whisper = whisper
        self._terms = thread_terms(settings)
        self._meter = Meter(metrics)
        self._warden = Warden(database, self._terms, self._meter)
        self._holder = make_holder(settings, database, gave_up=self._gave_up)
        self._freed = freed
        self._responding = make_responding(settings, at_work=metrics.threads.responder_threads.set)
        self._chats: ChatApi | None = None

    @property
    def sources(self) -> list[tuple[Kind, str, Source]]:
        """What snapshots hold of them."""
        snapshots = ThreadSnapshots(self._terms, self._warden.suspect)
        return [(Kind.THREAD, "thread", snapshots.threads), (Kind.THREAD, "message", snapshots.messages)]

    def start(self) -> None:
        """Begin to work, on this loop."""
        self._warden.start()

    def drain(self) -> None:
        """The node stops."""
        if self._chats is not None:
            self._chats.drain()

    async def close(self) -> None:
        """Stop."""
        if self._chats is not None:
            await self._chats.close()
        await self._holder.close()
        await self._warden.close()

    def endpoints(self, mutator: Mutator, reader: Reader, room: WaitingRoom) -> list[Endpoint]:
        """The endpoint tables."""
        terms, meter, settings = self._terms, self._meter, self._settings
        threads = ThreadsApi(
            mutator,
            reader,
            room,
            self._warden,
            terms=terms,
            meter=meter,
            lease_s=settings.thread_lease_s,
            wait_s=settings.thread_wait_s,
        )
        self._chats = ChatApi(
            mutator,
            reader,
            room,
            self._holder,
            self._warden,
            self._responding,
            chat=chat_terms(settings),
            terms=terms,
            meter=meter,
            whisper=self._show_piece,
        )
        return [*threads.endpoints(), *self._chats.endpoints()]

    def lapse(self, tx: WriteTx, lease: Lease) -> Lapsed:
        """End a place, of whatever queue, whose lease has run out."""
        return lapse_place(tx, lease, self._terms)

    def lapsed(self, outcome: Lapsed) -> None:
        """Hear what became of one."""
        self._meter.told(outcome.told)

    async def clean_daily(self) -> None:
        """Delete idle threads, once a day; run it as a task and cancel it."""

        async def work() -> None:
            database = self._database
            now = datetime.now(UTC)
            await clean_threads(database.read, database.write, self._terms, now=now, hear=self._meter.told)

        await daily("thread-cleanup", self._settings.thread_cleanup_hour, work)

    def holds(self, tx: ReadTx, project: str, wishes: Filter, owner: str | None, *, counts: bool) -> bool:
        """Whether all threads that a filter names are there: as this user's, or as anybody's for None.

        Args:
            counts: whether what is another's only is refused by this.
        """
        if not wishes.threads:
            return True
        found = threads_of_ids(tx, project, wishes.threads, user=owner)
        missing = set(wishes.threads) - {thread.id for thread in found}
        if missing and owner is not None and counts:
            for thread in threads_of_ids(tx, project, missing, user=None, limit=len(missing)):
                self._meter.foreign(Owned(project, owner, thread.id))
        return not missing

    def _gave_up(self, events: list[Told]) -> None:
        self._meter.told(events)
        self._freed()

    def _show_piece(self, name: Owned, message_id: str, index: int, text: str) -> None:
        body = delta(name, message_id, index, text, at=datetime.now(UTC))
        route = Route(Kind.THREAD.value, thread_id=name.id, owner=name.user)
        self._whisper(Whisper(name.project, route, body))
