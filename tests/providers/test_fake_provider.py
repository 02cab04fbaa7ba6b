"""The fake provider of the tests is as bad as a real one, and no worse."""

import asyncio
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from sessioncast import ResumeFailed
from support.provider import Habits, Provider, RefusedError, Work
from support.waiting import until

_WORK = Work(project_tokens=60_000, prompt_tokens=5_000, output_tokens=2_000, turns=10)
_UNLOCKED = Habits(lock_s=0)
_SLOW_S = 2.0
"""Within it nothing is done that hangs; what works has much longer."""


async def reason_of(provider: Provider, resume: str) -> str:
    """Why an id is not resumed."""
    with pytest.raises(ResumeFailed) as caught:
        await provider.run(_WORK, resume=resume)
    return str(caught.value.reason)


async def lineage(provider: Provider, uses: int) -> list[str | None]:
    """The fates of sessions that follow each other; a lost one is followed by a fresh one."""
    resume = None
    for _ in range(uses):
        try:
            resume = (await provider.run(Work(), resume=resume)).session_id
        except ResumeFailed:
            resume = (await provider.run(Work())).session_id
    return [call.fate for call in provider.calls() if call.outcome == "done"]


@pytest.mark.parametrize("keep_id", [False, True])
async def test_ids(tmp_path: Path, keep_id: bool) -> None:
    """Every use gives a new id, or all the same one, by option; a fresh one may be chosen."""
    provider = Provider(tmp_path, Habits(lock_s=0, keep_id=keep_id))
    ids = ["chosen", *(["chosen"] * 3 if keep_id else [])]
    assert (await provider.run(_WORK, session_id="chosen")).session_id == "chosen"
    given = ["chosen"]
    for _ in range(2):
        given.append((await provider.run(_WORK, resume=given[-1])).session_id)
    given.append((await provider.compact(given[-1])).session_id)
    assert given == ids if keep_id else len(set(given)) == 4
    assert [(call.resume, call.session_id) for call in provider.calls()] == [(None, given[0]), *pairwise(given)]


async def test_context_is_paid_once_in_full(tmp_path: Path) -> None:
    """A fresh run reads its project in full, a resumed one from the cache in every turn, at a tenth."""
    provider = Provider(tmp_path, _UNLOCKED)
    fresh = await provider.run(_WORK)
    work = 5_000 * 3e-6 + 2_000 * 15e-6
    assert (fresh.tokens, fresh.cached_tokens, fresh.turns) == (60_000 + 9 * 60_000 + 7_000, 9 * 60_000, 10)
    assert fresh.cost_usd == pytest.approx(60_000 * 3e-6 + 9 * 60_000 * 0.3e-6 + work)
    resumed = await provider.run(_WORK, resume=fresh.session_id)
    assert fresh.context == 67_000
    assert (resumed.tokens, resumed.cached_tokens, resumed.turns) == (10 * 67_000 + 7_000, 10 * 67_000, 10)
    assert resumed.cost_usd == pytest.approx(10 * 67_000 * 0.3e-6 + work)
    assert resumed.seconds < fresh.seconds


async def test_what_the_cache_has_lost_is_paid_in_full_again(tmp_path: Path) -> None:
    """With a cold cache a resumed run pays for what it knows in full in its first turn, yet does not look for it."""
    fresh = await Provider(tmp_path, _UNLOCKED).run(_WORK)
    warm = await Provider(tmp_path, _UNLOCKED).run(_WORK, resume=fresh.session_id)
    cold = await Provider(tmp_path, replace(_UNLOCKED, cold=True)).run(_WORK, resume=fresh.session_id)
    assert (cold.tokens, cold.cached_tokens) == (warm.tokens, 9 * 67_000)
    assert cold.cost_usd == pytest.approx(warm.cost_usd + 67_000 * (3e-6 - 0.3e-6))
    assert warm.seconds < cold.seconds < fresh.seconds


async def test_compaction_shrinks_what_is_paid_for(tmp_path: Path) -> None:
    """A compacted session knows a tenth, and its next use costs less than it would have."""
    provider = Provider(tmp_path, _UNLOCKED)
    fresh = await provider.run(_WORK)
    compacted = await provider.compact(fresh.session_id)
    assert (compacted.context, compacted.cached_tokens, compacted.tokens) == (6_700, 67_000, 73_700)
    long = await provider.run(_WORK, resume=fresh.session_id)
    short = await provider.run(_WORK, resume=compacted.session_id)
    assert short.cost_usd < long.cost_usd


async def test_it_takes_its_time(tmp_path: Path) -> None:
    """A use lasts at least what its pace makes of the provider's seconds."""
    began = time.monotonic()
    answer = await Provider(tmp_path, Habits(pace=0.01)).run(Work(output_tokens=1_200))
    assert answer.seconds == 20
    assert time.monotonic() - began >= 0.2


async def test_a_session_is_locked_after_its_use(tmp_path: Path) -> None:
    """Both the id that was used and the one that was given stay in use for a while, and then do not."""
    first = await Provider(tmp_path, _UNLOCKED).run(_WORK)
    second = await Provider(tmp_path, Habits(lock_s=3600)).run(_WORK, resume=first.session_id)
    for id_ in (first.session_id, second.session_id):
        assert await reason_of(Provider(tmp_path, _UNLOCKED), id_) == "locked"

    brief = Provider(tmp_path, Habits(lock_s=0.5))
    id_ = (await brief.run(_WORK)).session_id
    async with asyncio.timeout(30):
        while True:
            try:
                await brief.run(_WORK, resume=id_)
                break
            except ResumeFailed as failed:
                assert failed.reason == "locked"  # noqa: PT017  it may not fail at all


async def test_a_session_is_locked_during_its_use(tmp_path: Path) -> None:
    """While a process uses a session another is refused, and the first one ends well."""
    provider = Provider(tmp_path, _UNLOCKED)
    id_ = (await provider.run(_WORK)).session_id
    long = asyncio.create_task(Provider(tmp_path, Habits(lock_s=0, pace=0.05)).run(_WORK, resume=id_))
    async with asyncio.timeout(20):
        await until(lambda: provider.calls()[-1].resume == id_, "the long use")
        while not long.done():
            try:
                await provider.run(Work(), resume=id_)
            except ResumeFailed as failed:
                assert failed.reason == "locked"  # noqa: PT017  the first may have ended meanwhile
                break
    assert not long.done()
    assert (await long).turns == 10


async def test_an_id_is_begun_with_once(tmp_path: Path) -> None:
    """A fresh session cannot have the id of one that was there, even of a forgotten one."""
    provider = Provider(tmp_path, Habits(lock_s=0, forgets=1))
    await provider.run(_WORK, session_id="one")
    with pytest.raises(RefusedError, match="Session ID one is already in use") as caught:
        await provider.run(_WORK, session_id="one")
    assert caught.value.error == "in_use"


async def test_lost_sessions(tmp_path: Path) -> None:
    """What it forgot is not found, what it corrupted cannot be read, whenever it is tried."""
    forgetful = Provider(tmp_path / "a", Habits(lock_s=0, forgets=1))
    id_ = (await forgetful.run(_WORK)).session_id
    assert [await reason_of(forgetful, id_) for _ in range(2)] == ["not_found"] * 2
    corrupting = Provider(tmp_path / "b", Habits(lock_s=0, corrupts=1))
    id_ = (await corrupting.run(_WORK)).session_id
    assert [await reason_of(corrupting, id_) for _ in range(2)] == ["corrupted"] * 2


async def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    """A call that hangs is a timeout; once it was ended the session is as it was."""
    id_ = (await Provider(tmp_path, _UNLOCKED).run(_WORK)).session_id
    hanging = Provider(tmp_path, Habits(lock_s=0, hangs=1), timeout_s=_SLOW_S)
    assert await reason_of(hanging, id_) == "timeout"
    await Provider(tmp_path, _UNLOCKED).run(_WORK, resume=id_)
    assert [call.outcome for call in hanging.calls()] == ["done", "hangs", "done"]
    assert hanging.calls()[1].reason == "timeout"


async def test_a_hang_may_pass(tmp_path: Path) -> None:
    """With half of the tries hanging the same id is resumed by one of the next."""
    id_ = (await Provider(tmp_path, _UNLOCKED).run(_WORK)).session_id
    provider = Provider(tmp_path, Habits(lock_s=0, hangs=0.5, seed="0"), timeout_s=_SLOW_S)
    outcomes: list[str] = []
    while "done" not in outcomes:
        try:
            await provider.run(_WORK, resume=id_)
            outcomes.append("done")
        except ResumeFailed as failed:
            outcomes.append(failed.reason)
    assert outcomes[0] == "timeout"
    assert set(outcomes[:-1]) == {"timeout"}


async def test_the_same_seed_loses_the_same(tmp_path: Path) -> None:
    """Which sessions get lost follows from the seed and their order alone."""
    habits = Habits(lock_s=0, forgets=0.25, corrupts=0.25)
    a, b, c = [Provider(tmp_path / name, replace(habits, seed=name[0])) for name in ("1a", "1b", "2")]
    fates = [await lineage(provider, 16) for provider in (a, b, c)]
    assert set(fates[0]) == {"kept", "forgotten", "corrupted"}
    assert fates[0] == fates[1] != fates[2]
