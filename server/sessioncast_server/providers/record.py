"""A provider session as it is stored, and as it is shown."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sessioncast_server.providers.rules import Link, to_usd
from sessioncast_shared.providers import ProviderState


@dataclass(frozen=True, slots=True)
class Use:
    """A row of the table, column by column."""

    id: str
    project_id: str
    session_id: str
    task_id: str | None
    milestone: str | None
    provider_session_id: str
    proved: bool
    id_created_at: datetime
    operation: str
    iteration: int | None
    resumed_from: str | None
    fork: bool
    fence: int
    started_at: datetime
    last_used_at: datetime
    model_name: str
    agent: str
    lease_s: float
    is_resumable: bool = True
    resume_failure_count: int = 0
    tokens: int | None = None
    cached_tokens: int | None = None
    turns: int | None = None
    cost_nano: int | None = None
    structure_fingerprint: str | None = None
    state: str = ProviderState.OPEN.value
    renewals: int = 0
    ended_at: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether its holder has it in use."""
        return self.state == ProviderState.OPEN

    @property
    def attempting(self) -> bool:
        """Whether it is still to be seen that the id it wants to resume can be resumed."""
        return self.open and not self.proved and self.provider_session_id == self.resumed_from

    @property
    def link(self) -> Link:
        """What a decision looks at."""
        return Link(
            self.provider_session_id,
            self.is_resumable,
            self.resume_failure_count,
            self.last_used_at,
            self.model_name,
            self.agent,
        )

    def columns(self) -> dict[str, Any]:
        """The use as parameters of an INSERT."""
        return {name: getattr(self, name) for name in FIELDS}

    def resource(self) -> dict[str, Any]:
        """The use as the resource."""
        return {
            "id": self.id,
            "provider_session_id": self.provider_session_id,
            "session_id": self.session_id,
            "task_id": self.task_id,
            "milestone": self.milestone,
            "operation": self.operation,
            "iteration": self.iteration,
            "resumed_from": self.resumed_from,
            "is_resumable": self.is_resumable,
            "resume_failure_count": self.resume_failure_count,
            "usage": {
                "tokens": self.tokens,
                "cached_tokens": self.cached_tokens,
                "turns": self.turns,
                "cost_usd": None if self.cost_nano is None else to_usd(self.cost_nano),
            },
            "structure_fingerprint": self.structure_fingerprint,
            "fork": self.fork,
            "fence": self.fence,
            "state": self.state,
            "started_at": self.started_at,
            "last_used_at": self.last_used_at,
            "ended_at": self.ended_at,
        }


FIELDS = tuple(column.name for column in fields(Use))
