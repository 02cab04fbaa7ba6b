"""What clients may send about provider sessions."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt

from sessioncast_server.exchange.queries import ListQuery
from sessioncast_server.providers.rules import to_nano
from sessioncast_shared.providers import FailureReason
from sessioncast_shared.resources import Name

MAX_PATHS = 20_000

_STRICT = ConfigDict(frozen=True, extra="forbid")

# Sums of a million rows stay within the 64 bits that both databases add up in.
_Amount = Annotated[StrictInt, Field(ge=0, le=10**12)]
_Cost = Annotated[float, Field(ge=0, le=10**6, strict=True, allow_inf_nan=False)]
_Saved = Annotated[float, Field(ge=-(10**6), le=10**6, strict=True, allow_inf_nan=False)]
_Lease = Annotated[float, Field(ge=1, le=3600, strict=True, allow_inf_nan=False)]


def _paths(structure: Any) -> Any:
    if isinstance(structure, dict):
        for text in (*structure, *structure.values()):
            if len(text) > 4096:
                raise ValueError("a path or hash has more than 4096 characters")
    return structure


Fingerprint = Annotated[Name | Annotated[dict[str, str], Field(max_length=MAX_PATHS)], AfterValidator(_paths)]
"""Of a project's files: an opaque hash, or a map of path to hash."""


class OpenProviderSession(BaseModel):
    """A provider session that is to begin."""

    model_config = _STRICT

    operation: Name
    provider_session_id: Name | None = None
    resumed_from: Name | None = None
    iteration: Annotated[StrictInt, Field(ge=0, lt=2**31)] | None = None
    lease_s: _Lease | None = Field(None, description="seconds it lives without a sign of its holder")
    milestone: Name | None = Field(None, description="what it works for, instead of its session's task")
    fork: StrictBool = Field(False, description="a branch beside the chain, whose head stays as it is")


class Usage(BaseModel):
    """What it used so far; what is left out stays, null says that nobody knows."""

    model_config = _STRICT

    tokens: _Amount | None = None
    cached_tokens: _Amount | None = None
    turns: _Amount | None = None
    cost_usd: _Cost | None = Field(None, description="kept to nine decimals")

    def columns(self) -> dict[str, Any]:
        """Columns of the table with their new values."""
        given = self.model_dump(exclude_unset=True)
        if "cost_usd" in given:
            cost = given.pop("cost_usd")
            given["cost_nano"] = None if cost is None else to_nano(cost)
        return given


class Saved(BaseModel):
    """What the client reckons that resuming saved against a fresh run; less than nothing, when it was dearer."""

    model_config = _STRICT

    cost_usd: _Saved | None = None
    seconds: _Saved | None = None


class PatchProviderSession(BaseModel):
    """What is to change; nothing at all is a sign of life."""

    model_config = _STRICT

    new_provider_session_id: Name | None = Field(None, description="the id that the provider gave out, the same or not")
    usage: Usage | None = None
    ended: StrictBool = False
    is_resumable: StrictBool | None = Field(None, description="with `ended`, false says that it ended in an error")
    structure_fingerprint: Fingerprint | None = None
    saved: Saved | None = None


class Resume(BaseModel):
    """How the next operation wants to go on."""

    model_config = _STRICT

    structure_fingerprint: Fingerprint | None = None
    fork: StrictBool = False
    wait_s: Annotated[float, Field(ge=0, le=60, strict=True, allow_inf_nan=False)] | None = None


class ResumeFailed(BaseModel):
    """Why the provider did not resume."""

    model_config = _STRICT

    reason: FailureReason


class MetricsQuery(ListQuery):
    """Parameters of totals; `limit` and `after` page the provider sessions, the totals are of all."""

    limit: Annotated[int, Field(ge=1, le=200, description="provider sessions in a page")] = 200


class ProjectMetricsQuery(MetricsQuery):
    """Parameters of a project's totals."""

    milestone: Name | None = Field(None, description="only of this milestone, whatever characters its label has")


class ChainQuery(ListQuery):
    """Parameters of a chain."""
