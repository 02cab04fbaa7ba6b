"""Resources of provider sessions: uses of an AI provider, what they cost, and what may be resumed."""

from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from sessioncast_shared.resources import Resource


class Decision(StrEnum):
    """What the next operation does."""

    RESUME = "resume"
    FRESH = "fresh"


class FreshReason(StrEnum):
    """Why the next operation begins afresh."""

    NONE = "none"
    STALE = "stale"
    NOT_RESUMABLE = "not_resumable"
    STRUCTURE_CHANGED = "structure_changed"
    TOO_MANY_FAILURES = "too_many_failures"
    PROVIDER_CHANGED = "provider_changed"
    DISABLED = "disabled"


class FailureReason(StrEnum):
    """Why a provider did not resume an id. The first two are for good, the others are counted."""

    NOT_FOUND = "not_found"
    CORRUPTED = "corrupted"
    LOCKED = "locked"
    TIMEOUT = "timeout"
    OTHER = "other"

    @property
    def final(self) -> bool:
        """Whether there is no use in trying the id again."""
        return self in (FailureReason.NOT_FOUND, FailureReason.CORRUPTED)


class ProviderState(StrEnum):
    """Where a provider session stands. `abandoned`: its lease ran out before anybody ended it."""

    OPEN = "open"
    ENDED = "ended"
    ABANDONED = "abandoned"


class Usage(BaseModel):
    """What a provider session used so far; None where nobody knows.

    Attributes:
        tokens: as whoever tells them counts them.
        cached_tokens: those read from the provider's cache, told apart.
        turns: answers of the model.
        cost_usd: US dollars, kept to nine decimals.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    tokens: int | None = None
    cached_tokens: int | None = None
    turns: int | None = None
    cost_usd: float | None = None


class ProviderSession(Resource):
    """One use of an AI provider within a session.

    Attributes:
        id: of this use; providers do not know it.
        provider_session_id: the newest id that the provider gave out for it.
        task_id: None where it works for a milestone, not for its session's task.
        milestone: its own label; that of its task stands on the task.
        resumed_from: id that it resumed, None when it began afresh.
        is_resumable: whether `provider_session_id` may be resumed, as far as is known.
        resume_failure_count: how often in a row it could not be.
        structure_fingerprint: of the files it left; of a map of files the digest.
        fork: whether it is a branch beside the chain, which stays as it is.
        fence: the session's fence when it began.
    """

    id: str
    provider_session_id: str
    session_id: str
    task_id: str | None = None
    milestone: str | None = None
    operation: str
    iteration: int | None = None
    resumed_from: str | None = None
    is_resumable: bool
    resume_failure_count: int
    usage: Usage = Field(default_factory=Usage)
    structure_fingerprint: str | None = None
    fork: bool = False
    fence: int
    state: ProviderState
    started_at: AwareDatetime
    last_used_at: AwareDatetime
    ended_at: AwareDatetime | None = None


class Chain(Resource):
    """A page of a session's provider sessions, newest last.

    Attributes:
        head: the one whose id the next resume is decided about, None when there is none.
        stale_at: when that id is too old to be resumed.
    """

    data: list[ProviderSession]
    next: str | None = None
    head: ProviderSession | None = None
    stale_at: AwareDatetime | None = None


class ResumeDecision(Resource):
    """What the next operation of a session is to do.

    Attributes:
        provider_session_id: to resume; with `decision` `resume` only.
        id: of the provider session that has it.
        age_s: seconds since it was last used.
        reason: with `decision` `fresh` only.
        fence: of the session; to be sent as `X-Session-Fence` by who acts on the decision.
    """

    decision: Decision
    provider_session_id: str | None = None
    id: str | None = None
    age_s: float | None = None
    reason: FreshReason | None = None
    fence: int


class Totals(Resource):
    """What provider sessions used together. What nobody knows counts 0.

    Attributes:
        total_tokens, total_cached_tokens: told apart, as they were told.
        total_cost: US dollars of those whose cost is known.
        cost_known: whether all of them told theirs.
        num_iterations: how many provider sessions there are.
        avg_tokens_per_iteration: 0 when there are none.
    """

    total_tokens: int = 0
    total_cached_tokens: int = 0
    total_turns: int = 0
    total_cost: float = 0
    cost_known: bool = True
    num_iterations: int = 0
    avg_tokens_per_iteration: float = 0


class UsageMetrics(Totals):
    """Totals, and a page of the provider sessions that they are of, by `started_at`."""

    sessions: list[ProviderSession] = Field(default_factory=list)
    next: str | None = None


class ProjectVersion(Resource):
    """A version of what a project builds, with the id that its next update resumes.

    It names a session, and follows the head of its chain until a later version names the same session.
    """

    id: str
    project_id: str
    number: int
    session_id: str
    ai_session_id: str | None = None
    ai_session_created_at: AwareDatetime | None = None
    ai_session_last_used_at: AwareDatetime | None = None
    created_at: AwareDatetime


class AuditEntry(Resource):
    """A line of a project's audit trail.

    Attributes:
        action: `resume_decided`, `resume_attempted`, `resume_failed`, `resume_succeeded`, `resume_given_up` (ended
            before it was seen to work), `abandoned`, `security_violation`.
        user: who did it; None for what the server did by itself.
        data: what there is to know, by action.
    """

    id: str
    at: AwareDatetime
    project_id: str
    session_id: str | None = None
    user: str | None = None
    action: str
    data: dict[str, Any] = Field(default_factory=dict)
