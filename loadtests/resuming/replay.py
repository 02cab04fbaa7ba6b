"""One history of a project, replayed in turns by somebody who begins afresh every time and by somebody who resumes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resuming.history import Update, build
from sessioncast import Baseline, Client, ResumeFailed, ResumeWaits, Use
from support.provider import Answer, Habits, Provider, Work

_PATIENCE_S = 600.0
"""After so long a use of the provider counts as one that hangs; what works takes a fraction of it."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What the updates of a replay came to.

    Attributes:
        cost_usd: compactions included.
        provider_s: the provider's own time for the updates.
        updates_s: from before an update is asked for until it is closed, waits, refusals and our requests included.
        compactions_s: the same of compactions.
        resumed: how many updates resumed.
    """

    cost_usd: float = 0
    provider_s: float = 0
    updates_s: float = 0
    compactions_s: float = 0
    resumed: int = 0

    def plus(
        self, answer: Answer | None, seconds: float, *, resumed: bool = False, compaction: bool = False
    ) -> "Spent":
        """With one more update, or compaction, which may have come to nothing."""
        cost = self.cost_usd + (answer.cost_usd if answer is not None else 0)
        if compaction or answer is None:
            return replace(self, cost_usd=cost, compactions_s=self.compactions_s + seconds)
        return replace(
            self,
            cost_usd=cost,
            provider_s=self.provider_s + answer.seconds,
            updates_s=self.updates_s + seconds,
            resumed=self.resumed + resumed,
        )


@dataclass(frozen=True, slots=True)
class Replayed:
    """Both of them, of one history.

    Attributes:
        counted_usd: what the server added up for the session that resumes, less the building.
        reckoned_usd: less than fresh ones, by the updates that resumed: what the server is told of.
    """

    project_tokens: int
    updates: int
    fresh: Spent
    resuming: Spent
    counted_usd: float
    reckoned_usd: float


class Replay:
    """A project on a server, and a provider for each of the two."""

    def __init__(self, client: Client, folder: Path, habits: Habits) -> None:
        """All clocks of the provider and of whoever waits for it go `1 / habits.pace` times as fast as they would."""
        self._client = client
        self._pace = habits.pace
        self._waits = ResumeWaits(first_s=1.0 * habits.pace, longest_s=30.0 * habits.pace, jitter_s=0.5 * habits.pace)
        self._afresh = Provider(folder / "afresh", replace(habits, hangs=0))
        self._resuming = Provider(folder / "resuming", habits, timeout_s=_PATIENCE_S * habits.pace)
        self._building = Provider(folder / "resuming", replace(habits, pace=0, forgets=0, corrupts=0))

    async def run(self, project: str, project_tokens: int, history: Sequence[Update]) -> Replayed:
        """Build, then update in turns."""
        await self._client.projects.put(project)
        afresh, resuming = [await self._session(project, title) for title in ("afresh", "resuming")]
        async with self._client.resumable(resuming, operation="build") as attempt:
            built = await attempt.run(self._building.update(build(project_tokens)))
        fresh, resumed, reckoned = Spent(), Spent(), 0.0
        for update in history:
            answer, seconds = await self._begin_afresh(afresh, update)
            fresh = fresh.plus(answer, seconds)
            resumed, saved = await self._resume(resuming, update, resumed, Baseline(answer.cost_usd, seconds))
            reckoned += saved
        total = await self._client.providers.metrics(session=resuming)
        return Replayed(project_tokens, len(history), fresh, resumed, total.total_cost - built.cost_usd, reckoned)

    async def _session(self, project: str, title: str) -> str:
        task = await self._client.tasks.create(project, title)
        return (await self._client.sessions.start(task.id, "run", "model-a")).session.id

    async def _begin_afresh(self, session: str, update: Update) -> tuple[Answer, float]:
        began = time.perf_counter()
        async with self._client.iteration(session, operation="update") as use:
            answer = await self._afresh.run(update.work, session_id=use.provider_session_id)
            await use.record(tokens=answer.tokens, cached_tokens=answer.cached_tokens, cost_usd=answer.cost_usd)
        return answer, self._since(began)

    async def _resume(self, session: str, update: Update, spent: Spent, baseline: Baseline) -> tuple[Spent, float]:
        """Everything spent since, and what this update saved; 0 for one that did not resume."""
        summary = False
        if update.compact:
            began = time.perf_counter()
            shortened = await self._compact(session)
            summary = shortened is not None
            spent = spent.plus(shortened, self._since(began), compaction=True)
        began = time.perf_counter()
        async with self._client.resumable(session, "update", waits=self._waits, baseline=baseline) as attempt:

            async def work(use: Use) -> Answer:
                known_by_summary = summary and use.resume_id is not None
                return await self._resuming.update(update.after_compaction if known_by_summary else update.work)(use)

            answer = await attempt.run(work)
            resumed = attempt.use.resume_id is not None
        saved = (baseline.cost_usd or 0) - answer.cost_usd if resumed else 0.0
        return spent.plus(answer, self._since(began), resumed=resumed), saved

    async def _compact(self, session: str) -> Answer | None:
        """None where there was nothing to shorten any more: the update that follows begins afresh."""

        async def shorten(use: Use) -> Answer:
            if use.resume_id is None:
                raise ResumeFailed("not_found")  # leaves the attempt: it is not work that could be done afresh
            return await self._resuming.compaction(Work())(use)

        try:
            async with self._client.resumable(session, "compact", waits=self._waits) as attempt:
                return await attempt.run(shorten)
        except ResumeFailed:
            return None

    def _since(self, began: float) -> float:
        """Seconds of the provider's clock."""
        return (time.perf_counter() - began) / self._pace
