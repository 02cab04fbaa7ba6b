"""The replay with and without resume works, counts what the provider charges, and owns up when nothing is saved."""

from pathlib import Path
from typing import Any

import pytest

from resuming.history import updates
from resuming.savings import AIMS
from support.fakeprovider import CACHED_USD, FULL_USD, WRITTEN_USD
from support.loading import figures_of

_SEED = 7
_TOKENS = 60_000
_BUILT = 65_000
"""Tokens that a session knows of such a project when it has made it."""
_UPDATES = 3
_SMALL = (
    *("--project-tokens", str(_TOKENS), "--updates", str(_UPDATES), "--compact-every", "2"),
    *("--rounds", "1", "--faster", "100", "--seed", str(_SEED)),
)


async def run(tmp_path: Path, *options: str) -> tuple[dict[str, Any], dict[str, float], str]:
    """The figures of the only round, their medians, and what was printed."""
    figures, printed = await figures_of("resume_saved.py", tmp_path, *_SMALL, *options)
    (made,) = figures["rounds"]
    assert figures["told_usd"] == pytest.approx(made["reckoned_usd"]), "the server's metrics say otherwise"
    return made, figures["medians"][str(_TOKENS)], printed


def charged_afresh() -> float:
    """US dollars for the history by who begins afresh: the project in full once, and from the cache in later turns."""
    works = [made.work for made in updates(_TOKENS, count=_UPDATES, compact_every=2, seed=_SEED)]
    full = sum(_TOKENS + work.prompt_tokens for work in works)
    cached = sum(_TOKENS * (work.turns - 1) for work in works)
    return full * FULL_USD + cached * CACHED_USD + sum(work.output_tokens for work in works) * WRITTEN_USD


async def test_what_resumes_costs_less(tmp_path: Path) -> None:
    """With a provider that loses nothing all updates resume and cost less; the server adds up what was charged."""
    made, median, printed = await run(tmp_path, "--forgets", "0", "--corrupts", "0")
    assert made["resuming"]["resumed"] == made["updates"] == _UPDATES
    assert made["fresh"]["cost_usd"] == pytest.approx(charged_afresh())
    assert made["counted_usd"] == pytest.approx(made["resuming"]["cost_usd"])
    assert median["resumed"] == 1
    assert made["reckoned_usd"] > made["fresh"]["cost_usd"] - made["resuming"]["cost_usd"] > 0  # compactions cost, too
    assert 0 < median["cost"] == pytest.approx(1 - made["resuming"]["cost_usd"] / made["fresh"]["cost_usd"])
    assert median["provider_time"] > 0
    assert f"cheaper by {median['cost']:.0%}; the seed's target: 30 to 50%, " in printed


async def test_what_is_lost_saves_nothing(tmp_path: Path) -> None:
    """With a provider that forgets everything no update resumes, a compaction was in vain, and the table says so."""
    made, median, printed = await run(tmp_path, "--forgets", "1")
    assert made["resuming"]["resumed"] == median["resumed"] == 0
    in_vain = _BUILT * CACHED_USD + _BUILT / 10 * WRITTEN_USD
    assert made["resuming"]["cost_usd"] == pytest.approx(charged_afresh() + in_vain)
    assert median["cost"] == pytest.approx(-in_vain / charged_afresh())
    assert f"cheaper by {median['cost']:.0%}; the seed's target: 30 to 50%, MISSED" in printed


def test_verdicts() -> None:
    """A saving is judged by the seed's targets: below, within, above."""
    cost, time = AIMS
    assert cost.verdict(60_000, 0.25).endswith("cheaper by 25%; the seed's target: 30 to 50%, MISSED")
    assert cost.verdict(60_000, 0.30).endswith("30 to 50%, reached")
    assert time.verdict(60_000, 0.61) == "   60,000 tokens: faster by 61%; the seed's target: 40 to 60%, above it"
