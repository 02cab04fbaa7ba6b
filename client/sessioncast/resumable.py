"""An update that goes on where the last one ended, if that can be done."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar, overload

from sessioncast.calling import Function, call
from sessioncast.errors import ResumeFailed, SessioncastError
from sessioncast.identity import id_of
from sessioncast.limits import Limits
from sessioncast.providers import Fingerprint, Providers
from sessioncast.use import Use, begin
from sessioncast.versions import Versions
from sessioncast_shared.providers import Decision, ProjectVersion, ResumeDecision
from sessioncast_shared.resources import Session

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a fresh run takes; None where nobody knows."""

    cost_usd: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ResumeWaits:
    """Waits between tries of an id that could not be resumed; seconds unless said otherwise.

    Attributes:
        first_s: before the second try; each further one doubles it.
        longest_s: no wait is longer.
        jitter_s: each wait is longer by a random share of this.
        tries: the most there are; then `ResumeFailed` is raised. The server says `fresh` long before.
    """

    first_s: float = 1.0
    longest_s: float = 30.0
    jitter_s: float = 0.5
    tries: int = 10


class Attempt:
    """One update, for as long as its turn lasts.

    Attributes:
        decision: the server's last word: resume, or begin afresh and why.
        fence: of the turn; writes to the session may carry it.
        use: the provider session of this update.
        version: the project's version as it is afterwards, None where none was named, it could not be read, or a later
            one took its place.
    """

    def __init__(self, providers: Providers, use: Use, decision: ResumeDecision, waits: ResumeWaits) -> None:
        self.decision = decision
        self.fence = decision.fence
        self.use = use
        self.version: ProjectVersion | None = None
        self.succeeded = False
        self.took_s: float | None = None
        self._providers = providers
        self._waits = waits
        self._began = False
        self._again: ResumeFailed | None = None

    @overload
    async def run(self, function: Callable[[Use], Awaitable[R]]) -> R: ...

    @overload
    async def run(self, function: Callable[[Any], R]) -> R: ...

    async def run(self, function: Function) -> Any:
        """Call `function(use)`, once more for each `ResumeFailed` that it raises, as the server decides; its result.

        After `not_found` and `corrupted`, and when the server has seen enough failures, it is called with
        `use.resume_id` None, to begin afresh, at once; before another try of the same id there is a wait.

        Who returns after beginning afresh says that the provider has `use.provider_session_id`, unless he recorded
        another: it is what the next one resumes. Where there was nothing to do, raise `ResumeFailed`.

        A function that is not async is called in a thread, which nothing can stop: when this is cancelled, the
        `async with` around it is left once the function has ended, after `Limits.thread_s` at the latest; what it
        recorded until then counts.

        Raises:
            ResumeFailed: there was nothing to resume and it was raised all the same, or it was raised too often.
            Fenced: the turn was lost to somebody else.
            RuntimeError: this is the second run; an attempt is one update.
        """
        import stamina  # noqa: PLC0415  only what is used is loaded

        if self._began:
            raise RuntimeError("an attempt runs once: ask for the next one")
        self._began = True
        loop = asyncio.get_running_loop()
        began = loop.time()
        tries = stamina.retry_context(
            on=lambda error: error is self._again,
            attempts=self._waits.tries,
            timeout=None,
            wait_initial=self._waits.first_s,
            wait_max=self._waits.longest_s,
            wait_jitter=self._waits.jitter_s,
        )
        async for one in tries:
            with one:
                result = await self._once(function)
        self.succeeded = True
        self.took_s = loop.time() - began
        return result

    async def _once(self, function: Function) -> Any:
        while True:
            try:
                return await call(function, self.use, self.use.threads)
            except ResumeFailed as failure:
                if self.use.resume_id is None:
                    raise
                # The fence stays that of the turn: a decision made for a later holder must not be acted upon.
                self.decision = await self._providers.resume_failed(self.use.id, failure.reason, fence=self.use.fence)
                if self.decision.decision is Decision.RESUME and self.decision.provider_session_id is not None:
                    self.use.resumes(self.decision.provider_session_id)
                    self._again = failure
                    raise
            await self.use.begin_afresh()


class Resumable:
    """`async with client.resumable(session) as attempt:` waits for its turn, and ends it however it is left."""

    def __init__(
        self,
        providers: Providers,
        versions: Versions,
        limits: Limits,
        session: Session | str,
        operation: str,
        *,
        project_version: ProjectVersion | None,
        structure_fingerprint: Fingerprint | None,
        fork: bool,
        wait_s: float | None,
        baseline: Baseline | None,
        waits: ResumeWaits | None,
        **wishes: Any,
    ) -> None:
        if project_version is not None and project_version.session_id != id_of(session):
            raise ValueError(
                f"version {project_version.number} is of session {project_version.session_id}, not of {id_of(session)}"
            )
        self._providers = providers
        self._versions = versions
        self._limits = limits
        self._session = session
        self._operation = operation
        self._version = project_version
        self._fingerprint = structure_fingerprint
        self._fork = fork
        self._wait_s = wait_s
        self._baseline = baseline
        self._waits = waits or ResumeWaits()
        self._wishes = wishes
        self._attempt: Attempt | None = None

    async def __aenter__(self) -> Attempt:
        if self._attempt is not None:
            raise RuntimeError("a resumable is entered once")
        decision = await self._providers.resume(
            self._session, structure_fingerprint=self._fingerprint, fork=self._fork, wait_s=self._wait_s
        )
        try:
            use = await self._begin(decision)
        except BaseException:
            if not self._fork:
                # Whatever has become of it, others need not wait: what is being opened is closed again, and until
                # then the turn is its own.
                back = self._providers.give_up_turn(self._session, decision.fence)
                self._providers.afterwards.add(back, within_s=self._limits.give_up_s)
            raise
        self._attempt = Attempt(self._providers, use, decision, self._waits)
        return self._attempt

    async def _begin(self, decision: ResumeDecision) -> Use:
        return await begin(
            self._providers,
            self._limits,
            self._session,
            self._operation,
            # A branch has no turn, and is not to be stopped by those who have.
            fence=None if self._fork else decision.fence,
            resumed_from=decision.provider_session_id if decision.decision is Decision.RESUME else None,
            fork=self._fork,
            **self._wishes,
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        attempt = self._attempt
        if attempt is None:
            return

        # What the provider said it has can be resumed, whatever went wrong afterwards. An id that it never confirmed,
        # in a run that failed or never was, is not worth a try; the chain's head stays where it was.
        def spoiled() -> bool:
            confirmed = attempt.use.confirmed
            return confirmed is False or not (attempt.succeeded or confirmed)

        await attempt.use.close(error, spoiled=spoiled, saved=self._saved(attempt))
        if self._version is not None:
            attempt.version = await self._reread(self._version)

    def _saved(self, attempt: Attempt) -> Mapping[str, float] | None:
        baseline = self._baseline
        if baseline is None or not attempt.succeeded or attempt.decision.decision is not Decision.RESUME:
            return None
        saved = {}
        if baseline.cost_usd is not None and attempt.use.cost_usd is not None:
            saved["cost_usd"] = baseline.cost_usd - attempt.use.cost_usd
        if baseline.seconds is not None and attempt.took_s is not None:
            saved["seconds"] = baseline.seconds - attempt.took_s
        return saved or None

    async def _reread(self, version: ProjectVersion) -> ProjectVersion | None:
        try:
            latest = await self._versions.latest(version.project_id)
        except SessioncastError:
            return None  # the update is done all the same
        return latest if latest.id == version.id else None
