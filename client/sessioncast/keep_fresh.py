"""An id that is not allowed to go stale."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from sessioncast.calling import Function, call
from sessioncast.providers import Providers
from sessioncast.resumable import Resumable
from sessioncast.shielding import to_the_end
from sessioncast.use import Use
from sessioncast_shared.providers import ProviderSession, ProviderState
from sessioncast_shared.resources import Session

_log = logging.getLogger(__name__)


class NotDueError(Exception):
    """Between looking and having the turn, somebody else used the id, or it was lost: there is nothing to keep."""


class KeepFresh:
    """`async with client.keep_fresh(session, compact):` runs `compact` whenever the session's id would go stale soon.

    Attributes:
        times: how often it did.
        last_error: what went wrong last, None if nothing did. It is logged, and tried again; nobody is interrupted.
    """

    def __init__(
        self,
        providers: Providers,
        resumable: Callable[[], Resumable],
        session: Session | str,
        compact: Function,
        *,
        refresh_before: timedelta,
        look_s: float,
    ) -> None:
        if refresh_before <= timedelta():
            raise ValueError("refresh_before must be longer than nothing")
        self.times = 0
        self.last_error: Exception | None = None
        self._providers = providers
        self._resumable = resumable
        self._session = session
        self._compact = compact
        self._before = refresh_before
        self._look_s = min(look_s, refresh_before.total_seconds() / 4)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await to_the_end(_ended(self._task))

    async def _keep(self) -> None:
        while True:
            pause_s = self._look_s
            try:
                pause_s = await self._look()
            except NotDueError:
                pass
            except Exception as error:  # noqa: BLE001  the compact step is the caller's, and may raise anything
                self.last_error = error
                _log.warning("The provider session could not be kept fresh: %s", error, exc_info=error)
            await asyncio.sleep(pause_s)

    async def _look(self) -> float:
        """Compact if that is due; seconds until it may be."""
        chain = await self._providers.chain(self._session, limit=1)
        head, stale_at = chain.head, chain.stale_at
        if head is None or stale_at is None or not head.is_resumable or head.state is ProviderState.OPEN:
            # One that is open is lived in: a turn would fence its holder out, and the provider would have it in use.
            return self._look_s
        left = stale_at - datetime.now(UTC)
        if left > self._before:
            return min((left - self._before).total_seconds(), self._look_s)
        if left > timedelta():
            await self._refresh(head, stale_at - head.last_used_at)
        return self._look_s

    async def _refresh(self, head: ProviderSession, period: timedelta) -> None:
        if self._before >= period:
            raise ValueError(f"refresh_before is {self._before}, but an id goes stale in {period}: it would never rest")
        due_s = (period - self._before).total_seconds()
        async with self._resumable() as attempt:

            async def step(use: Use) -> None:
                age_s = attempt.decision.age_s
                if use.resume_id is None or age_s is None or age_s < due_s:
                    raise NotDueError(head.id)
                now = (await self._providers.chain(self._session, limit=1)).head
                if now is None or now.state is ProviderState.OPEN:
                    raise NotDueError(head.id)
                await call(self._compact, use, use.threads)

            await attempt.run(step)
        self.times += 1


async def _ended(task: "asyncio.Task[None]") -> None:
    await asyncio.wait({task})
