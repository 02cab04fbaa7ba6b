"""What a client may report."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from sessioncast_shared.filters import is_uuid

Kind = Literal["load_failed", "stale", "mismatch", "other"]


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("Input should be a time as text")  # noqa: TRY004  pydantic's word for a bad value
    return value


def _uuid(text: str) -> str:
    if not is_uuid(text):
        raise ValueError("Input should be a UUID")
    return str(UUID(text))


def cleaned(text: str) -> str:
    """The text on one line: whatever could break it, or steer a terminal, is a space."""
    return "".join(each if each.isprintable() else " " for each in text)


Time = Annotated[AwareDatetime, BeforeValidator(_text)]


class ClientReport(BaseModel):
    """Something went wrong at a client."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Annotated[Time, Field(description="when, by the client's clock")]
    message: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(cleaned)]
    kind: Kind = "other"
    session_id: Annotated[str, Field(max_length=36), AfterValidator(_uuid)] | None = None
    heard_at: Annotated[Time, Field(description="when it last heard from the server")] | None = None
    transport: Annotated[str, Field(max_length=20), AfterValidator(cleaned)] | None = None
