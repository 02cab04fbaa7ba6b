"""What clients may send about threads."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sessioncast_server.exchange.queries import ListQuery, MinPosition, ReadQuery
from sessioncast_server.threads.rules import Item, role_of
from sessioncast_shared.filters import is_uuid
from sessioncast_shared.resources import Name

MESSAGES_MAX = 1000
_SEQ_DIGITS = 18

_STRICT = ConfigDict(frozen=True, extra="forbid")


def _uuid(text: str) -> str:
    if not is_uuid(text):
        raise ValueError("must be a UUID")
    return str(UUID(text))


Id = Annotated[str, AfterValidator(_uuid)]
Wait = Annotated[float, Field(ge=0, le=60, strict=True, allow_inf_nan=False)]
Lease = Annotated[float, Field(ge=1, le=3600, strict=True, allow_inf_nan=False)]
WaitOrNone = Annotated[
    Wait | None, Field(description="seconds to wait for those before it; none: as the server is set")
]


class CreateThread(BaseModel):
    """A new thread."""

    model_config = _STRICT

    id: Id | None = Field(None, description="a UUID of your own; the user's thread of that id, if there is one")
    title: Name | None = None


class NewMessage(BaseModel):
    """A message that is to be appended."""

    model_config = _STRICT

    content: Any = Field(description="any JSON value")
    role: Name | None = Field(None, description="may be left out where the content says it by `role` or `type`")
    id: Id | None = Field(None, description="a UUID of your own; what has it is not appended again")

    @model_validator(mode="after")
    def _has_role(self) -> Self:
        if self.role is None:
            said = role_of(self.content)
            if said is None or not 0 < len(said) <= 200 or "\0" in said:
                raise ValueError("role is needed: the content does not say it")
        return self

    @property
    def item(self) -> Item:
        """What becomes a message."""
        return Item(self.role or role_of(self.content) or "", self.content, self.id)


class InTurn(BaseModel):
    """In which run something is done, or how long to wait for a turn of one's own."""

    model_config = _STRICT

    run: Id | None = Field(None, description="of the run that it is part of")
    wait_s: WaitOrNone = None


class AppendMessages(InTurn):
    """Messages that are to be appended together."""

    messages: Annotated[list[NewMessage], Field(min_length=1, max_length=MESSAGES_MAX)]


class BeginRun(BaseModel):
    """A stretch of work that is to have a thread to itself."""

    model_config = _STRICT

    wait_s: WaitOrNone = None
    lease_s: Lease | None = Field(None, description="seconds it lives without a sign of its holder")


class SendMessage(BaseModel):
    """A line of a chat."""

    model_config = _STRICT

    content: Annotated[str, Field(min_length=1, max_length=100_000)]


class OwnerQuery(ReadQuery):
    """Parameters of reads of a thread."""

    user: Name | None = Field(None, description="whose thread; another's needs threads:read_all")


class ThreadsQuery(ListQuery):
    """Parameters of the list of threads."""

    user: Name | None = Field(None, description="whose threads; another's need threads:read_all")
    all: bool = Field(False, description="everybody's; needs threads:read_all")


class MessagesQuery(BaseModel):
    """Parameters of the list of messages."""

    model_config = _STRICT

    order: Literal["asc", "desc"] = Field("asc", description="desc begins with the newest")
    after: Annotated[
        str | None, Field(pattern=rf"^[0-9]{{1,{_SEQ_DIGITS}}}$", description="`next` of the page before: a seq")
    ] = None
    limit: Annotated[int, Field(ge=1, le=200, description="messages in a page")] = 50
    user: Name | None = Field(None, description="whose thread; another's needs threads:read_all")
    min_position: MinPosition = None
