"""What may be resumed, and what it costs, without a database."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

import orjson

from sessioncast_shared.providers import Decision, FreshReason

NANO = 10**9
"""Costs are kept in billionths of a US dollar."""

Structure = str | Mapping[str, str]
"""A fingerprint of a project's files: an opaque hash, or a map of path to hash."""


@dataclass(frozen=True, slots=True)
class ResumeTerms:
    """On what terms an id is resumed.

    Attributes:
        stale_s: seconds after its last use from which it is not.
        failures_max: failures in a row after which it is not.
        changed_share: share of changed paths above which it is not.
    """

    stale_s: float = 86400.0
    failures_max: int = 3
    changed_share: float = 0.3


@dataclass(frozen=True, slots=True)
class Link:
    """The head of a chain, as far as a decision is concerned.

    Attributes:
        model_name, agent: the session's when the link was made; an agent as JSON text.
    """

    provider_session_id: str
    is_resumable: bool
    failures: int
    last_used_at: datetime
    model_name: str
    agent: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the next operation is to do.

    Attributes:
        reason: None to resume.
        age_s: seconds since the head's last use; None without a head.
    """

    reason: FreshReason | None
    age_s: float | None = None

    @property
    def decision(self) -> Decision:
        """Resume, or begin afresh."""
        return Decision.RESUME if self.reason is None else Decision.FRESH


def decide(
    head: Link | None,
    *,
    now: datetime,
    enabled: bool,
    model_name: str,
    agent: str,
    changed: float | None,
    terms: ResumeTerms,
) -> Verdict:
    """Whether the next operation resumes the head of a chain. Only the head: an older link is never an answer.

    Args:
        enabled: the flag.
        model_name, agent: the session's now; an agent as JSON text, `null` where there is none.
        changed: share of the project's paths that have changed since; None where that is not known.
    """
    if head is None:
        return Verdict(FreshReason.NONE if enabled else FreshReason.DISABLED)
    age = max((now - head.last_used_at).total_seconds(), 0.0)
    checks = (
        (FreshReason.DISABLED, not enabled),
        (FreshReason.NOT_RESUMABLE, not head.is_resumable),
        (FreshReason.TOO_MANY_FAILURES, head.failures >= terms.failures_max),
        (FreshReason.PROVIDER_CHANGED, _another(head, model_name, agent)),
        (FreshReason.STALE, age >= terms.stale_s),
        (FreshReason.STRUCTURE_CHANGED, changed is not None and changed > terms.changed_share),
    )
    return Verdict(next((reason for reason, holds in checks if holds), None), age)


def _another(head: Link, model_name: str, agent: str) -> bool:
    """Whether another provider would be asked: another model, or another agent where both are known."""
    return head.model_name != model_name or (head.agent != agent and "null" not in (head.agent, agent))


def stale_at(last_used_at: datetime, terms: ResumeTerms) -> datetime:
    """When an id is too old."""
    return last_used_at + timedelta(seconds=terms.stale_s)


def share_changed(before: Structure | None, now: Structure | None) -> float | None:
    """Share of paths, 0 to 1, that were added, removed or changed; None where one of both is not known.

    Of opaque hashes, and of a hash and a map, it can only be told whether they differ: 0 or 1.
    """
    if before is None or now is None:
        return None
    if isinstance(before, str) or isinstance(now, str):
        return 0.0 if digest(before) == digest(now) else 1.0
    paths = before.keys() | now.keys()
    changed = sum(before.get(path) != now.get(path) for path in paths)
    return changed / len(paths) if paths else 0.0


def digest(structure: Structure) -> str:
    """A fingerprint in a text of at most 200 characters: an opaque one as it is, of a map its digest."""
    if isinstance(structure, str):
        return structure
    canonical = orjson.dumps(dict(structure), option=orjson.OPT_SORT_KEYS)
    return f"sha256:{hashlib.sha256(canonical).hexdigest()}"


def to_nano(usd: float) -> int:
    """US dollars in billionths, rounded half to even; what a float is meant to say, not its binary digits."""
    return int((Decimal(repr(usd)) * NANO).to_integral_value(ROUND_HALF_EVEN))


def to_usd(nano: int) -> float:
    """Billionths in US dollars, correctly rounded."""
    return nano / NANO


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over provider sessions: whole numbers, so that they are exact. Costs in billionths of a US dollar."""

    count: int
    tokens: int
    cached_tokens: int
    turns: int
    cost_nano: int
    costs_known: int

    def totals(self) -> dict[str, int | float | bool]:
        """The members of `Totals`."""
        return {
            "total_tokens": self.tokens,
            "total_cached_tokens": self.cached_tokens,
            "total_turns": self.turns,
            "total_cost": to_usd(self.cost_nano),
            "cost_known": self.costs_known == self.count,
            "num_iterations": self.count,
            "avg_tokens_per_iteration": self.tokens / self.count if self.count else 0.0,
        }
