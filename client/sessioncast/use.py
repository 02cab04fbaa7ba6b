"""One use of a provider: what is told of it, the lease it lives by, and its end."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from sessioncast.agent import AgentSession
from sessioncast.errors import (
    Fenced,
    Invalid,
    ProblemError,
    SecurityViolation,
    SessioncastError,
    SessionDeleted,
    SessionReplaced,
)
from sessioncast.limits import Limits
from sessioncast.providers import Fingerprint, Providers
from sessioncast.renewal import passes, renewed
from sessioncast.shielding import to_the_end
from sessioncast_shared.providers import ProviderSession, ProviderState
from sessioncast_shared.resources import Session

_log = logging.getLogger(__name__)

_TAKEN = (Fenced, SessionReplaced, SessionDeleted)
"""Who hears this has lost the session, and may still tell facts: what he used, and that he ended."""


class Use:
    """An open provider session. It is opened and closed by `client.iteration` and `client.resumable`.

    Attributes:
        id: of the provider session; the provider does not know it.
        session_id: of the session it belongs to.
        provider_session_id: the newest id: the provider's own, or until that is known the one to begin with.
        resume_id: that the provider is to resume, None: begin afresh.
        fence: that it is written under, None where nobody is fenced off.
        lost: why the server will not have it any more, None while it will. The next `record` raises it.
        threads: functions that use it in threads, and cannot be stopped.
    """

    def __init__(
        self,
        providers: Providers,
        limits: Limits,
        opened: ProviderSession,
        *,
        fence: int | None,
        agent: AgentSession,
        lease_s: float,
    ) -> None:
        self.id = opened.id
        self.session_id = opened.session_id
        self.provider_session_id = opened.provider_session_id
        self.resume_id = opened.resumed_from
        self.fence = fence
        self.lost: SessioncastError | None = None
        self.threads: set[asyncio.Future[Any]] = set()
        self._providers = providers
        self._limits = limits
        self._agent = agent
        self._lease_s = lease_s
        self._closed = False
        self._confirmed: bool | None = None
        self._cost_usd: float | None = None
        # What the server has not confirmed yet; the end carries it once more. Totals and ids bear repeating.
        self._untold: dict[str, Any] = {}
        self._telling = asyncio.Lock()
        agent.set(self.provider_session_id)
        self._renewal = asyncio.create_task(self._renew())

    @property
    def confirmed(self) -> bool | None:
        """Whether the provider told its id: it has this session, whatever happens afterwards. None: it told none.

        False: the server refused the id it told, so that the one the server has is not the provider's.
        """
        return self._confirmed

    @property
    def cost_usd(self) -> float | None:
        """What it cost so far, None where nobody told."""
        return self._cost_usd

    async def record(
        self,
        *,
        provider_session_id: str | None = None,
        tokens: int | None = None,
        cached_tokens: int | None = None,
        turns: int | None = None,
        cost_usd: float | None = None,
        structure_fingerprint: Fingerprint | None = None,
    ) -> ProviderSession:
        """Tell the server at once; when this returns it is kept, whatever becomes of this process.

        Args:
            provider_session_id: that the provider gave out, also when it is the same as before.
            tokens, cached_tokens, turns, cost_usd: totals of this use so far.
            structure_fingerprint: of the files that it leaves.

        Raises:
            Fenced: somebody else has taken the session over.
            ConnectionLost: the server was away until the deadline; what was to be told is told again at the end.
            Invalid, TypeError, ValueError: a part of it cannot be accepted; the other parts are kept.
            RuntimeError: it is closed.
        """
        if self._closed:
            raise RuntimeError(f"the provider session {self.id} is closed")
        if provider_session_id is not None:
            self._confirmed = True
            self._renamed(provider_session_id)
        self._cost_usd = self._cost_usd if cost_usd is None else cost_usd
        usage = {"tokens": tokens, "cached_tokens": cached_tokens, "turns": turns, "cost_usd": cost_usd}
        usage = {name: total for name, total in usage.items() if total is not None}
        news: dict[str, Any] = {
            "new_provider_session_id": provider_session_id,
            "structure_fingerprint": structure_fingerprint,
        }
        async with self._telling:
            before = dict(self._untold)
            self._untold |= {name: value for name, value in news.items() if value is not None}
            if usage:
                self._untold["usage"] = {**before.get("usage", {}), **usage}
            if self.lost is not None:
                raise self.lost
            try:
                row = await self._providers.patch(self.id, fence=self.fence, **self._untold)
            except (Invalid, TypeError, ValueError):  # the server will not have it, or it is nothing that JSON can say
                await self._tell_apart()
                raise
            except ProblemError as error:
                if not passes(error):
                    # Said again it would be refused again, and take the end with it. What was used is a fact, and taken
                    # from everybody.
                    facts = isinstance(error, (*_TAKEN, SecurityViolation)) and "usage" in self._untold
                    self._untold = before | ({"usage": self._untold["usage"]} if facts else {})
                    if provider_session_id is not None:
                        self._confirmed = False
                raise
            self._untold = {}
        return row

    def doubt(self) -> None:
        """The provider told something of which nobody knows whether it was an id: what the server has may not be its.

        Unless a later `record` tells one, the id is not to be resumed.
        """
        self._confirmed = False

    async def _tell_apart(self, *, deadline_s: float | None = None) -> None:
        """Something of what is to be told cannot be accepted: tell the rest, and forget that."""
        parts = list(self._untold.items())
        for name, value in parts:
            try:
                if len(parts) > 1:
                    one = {name: value}
                    await self._providers.patch(self.id, fence=self.fence, deadline_s=deadline_s, **one)
            except (ProblemError, TypeError, ValueError) as error:
                if isinstance(error, ProblemError) and passes(error):
                    raise
                refused = True
            else:
                refused = len(parts) == 1
            del self._untold[name]
            if refused and name == "new_provider_session_id":
                self._confirmed = False

    async def begin_afresh(self) -> None:
        """There is nothing to resume any more: learn the id to begin with."""
        self.resume_id = None
        row = await self._providers.patch(self.id, fence=self.fence)
        self._renamed(row.provider_session_id)

    def resumes(self, provider_session_id: str) -> None:
        """The id to try now."""
        self.resume_id = provider_session_id
        self._renamed(provider_session_id)

    async def close(
        self,
        error: BaseException | None,
        *,
        spoiled: Callable[[], bool],
        saved: Mapping[str, float] | None = None,
    ) -> None:
        """Tell the server that it ended, for at most `Limits.close_s`, also while the caller is being cancelled.

        A function that still runs in a thread, because who waited for it was cancelled, is waited for before, for at
        most `Limits.thread_s`, with the lease renewed: until it ends it uses the provider. Who was taken over may still
        say what he used, and that he ended. The chain is not his any more.

        Args:
            error: that the caller is left with: it goes on, with a note if the server could not be told.
            spoiled: whether the id is not to be resumed; asked when nothing more can be recorded.

        Raises:
            Fenced: somebody else has taken the session over, and there is no other error.
            SessioncastError: the server could not be told, and there is no other error. It finds out by the lease.
            CancelledError: the caller was cancelled meanwhile.
        """
        self._closed = not self.threads
        try:
            refusal = await to_the_end(self._end(spoiled=spoiled, saved=saved))
            if refusal is not None and error is None:
                raise refusal
        except SessioncastError as failure:
            if error is None:
                raise
            error.add_note(f"The provider session {self.id} could not be closed either: {failure}")
        except asyncio.CancelledError:
            # Whatever went wrong before: who cancelled waits for it to be so, and one that was cancelled is already.
            if not isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._agent.restore()

    async def _end(self, *, spoiled: Callable[[], bool], saved: Mapping[str, float] | None) -> ProblemError | None:
        """What was refused of it; the end itself, and what was used, was taken then."""
        loop = asyncio.get_running_loop()
        if self.threads:
            _, late = await asyncio.wait(set(self.threads), timeout=self._limits.thread_s)
            if late:
                _log.warning("The provider session %s is closed, but what uses it still runs in a thread", self.id)
        self._closed = True
        ends = loop.time() + self._limits.close_s
        self._renewal.cancel()
        await asyncio.wait({self._renewal})
        try:
            async with asyncio.timeout_at(ends):
                await self._telling.acquire()
        except TimeoutError as error:
            raise SessioncastError("what was to be recorded is still on its way") from error
        try:
            left_s = max(ends - loop.time(), 0.001)
            await self._providers.patch(
                self.id,
                ended=True,
                is_resumable=False if spoiled() else None,
                saved=saved,
                fence=self.fence,
                deadline_s=left_s,
                **self._untold,
            )
        except Invalid as error:
            await self._tell_apart(deadline_s=max(ends - loop.time(), 0.001))
            await self._providers.patch(
                self.id,
                ended=True,
                is_resumable=False if spoiled() else None,
                fence=self.fence,
                deadline_s=max(ends - loop.time(), 0.001),
            )
            return error
        except ProblemError as error:
            if passes(error):
                raise
            # What it used, and that it ended, is taken from everybody whose use it was; more is not, from who has lost
            # the session. From who still has it the id was refused: the one that the server has is not the provider's.
            await self._providers.patch(
                self.id,
                ended=True,
                is_resumable=None if isinstance(error, _TAKEN) else False,
                usage=self._untold.get("usage"),
                deadline_s=max(ends - loop.time(), 0.001),
            )
            return error
        finally:
            self._telling.release()
        return None

    async def _renew(self) -> None:
        self.lost = await renewed(self._sign, self._lease_s)

    async def _sign(self, within_s: float) -> bool:
        row = await self._providers.patch(self.id, fence=self.fence, deadline_s=within_s)
        # The lease may be lost, to a sleeping machine for instance. What is recorded counts all the same, until
        # somebody else has a turn; there is only nothing left to renew.
        return row.state is ProviderState.OPEN

    def _renamed(self, provider_session_id: str) -> None:
        self.provider_session_id = provider_session_id
        self._agent.set(provider_session_id)


async def begin(
    providers: Providers,
    limits: Limits,
    session: Session | str,
    operation: str,
    *,
    fence: int | None,
    agent: Any,
    lease_s: float | None,
    **wishes: Any,
) -> Use:
    """Open a provider session, and keep its lease from now on.

    Cancelled in the middle it is over at once; what was opened is closed in the background, which waits for the answer
    for at most `Limits.close_s`.
    """
    lease_s = limits.lease_s if lease_s is None else lease_s
    asking = asyncio.ensure_future(providers.open(session, operation, fence=fence, lease_s=lease_s, **wishes))
    try:
        opened = await asyncio.shield(asking)
    except asyncio.CancelledError:
        providers.afterwards.add(_undo(providers, asking), within_s=limits.close_s)
        raise
    try:
        return Use(providers, limits, opened, fence=fence, agent=AgentSession(agent), lease_s=lease_s)
    except Exception:  # an agent that takes no id
        providers.afterwards.add(_undo(providers, asking), within_s=limits.close_s)
        raise


async def _undo(providers: Providers, asking: "asyncio.Future[ProviderSession]") -> None:
    opened = await asking
    await providers.patch(opened, ended=True, is_resumable=False)
