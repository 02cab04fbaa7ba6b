"""What a subscription yields."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from sessioncast_shared.events import Event
from sessioncast_shared.providers import ProviderSession
from sessioncast_shared.resources import Session, Task
from sessioncast_shared.threads import Message, Thread

OpenState = Literal["resumed", "snapshot", "gap"]


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream is open, for the first time or again.

    Attributes:
        state: `resumed`: every event since the last one follows, without a hole. `snapshot`: the whole present state
            follows. `gap`: events were missed and are gone; a `Snapshot` follows unless none was wanted.
        reason: why there is a gap.
        from_, to: positions that the replay or the gap lies between, where the server names them.
        position: where the stream stands.
    """

    state: OpenState
    reason: str | None = None
    from_: str | None = None
    to: str | None = None
    position: str | None = None


@dataclass(frozen=True, slots=True)
class OtherResource:
    """A resource of a kind that this client has no type for."""

    kind: str
    data: dict[str, Any]


Shown = Task | Session | ProviderSession | Thread | Message | OtherResource
"""What a snapshot holds."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The present state of everything the filter covers; it replaces whatever was known before.

    Attributes:
        resources: tasks, live sessions, heads of their chains and others; no output, but each session's `output_seq`.
            Where the filter names threads, those too, each with its messages.
        position: events after it are still to come, those up to it are in the snapshot.
        too_large: there are too many to send; `resources` is empty and what is there is read from the paths in `read`.
    """

    resources: tuple[Shown, ...]
    position: str
    too_large: bool = False
    read: tuple[str, ...] = ()

    @property
    def tasks(self) -> list[Task]:
        """The tasks in it."""
        return [resource for resource in self.resources if isinstance(resource, Task)]

    @property
    def sessions(self) -> list[Session]:
        """The live sessions in it."""
        return [resource for resource in self.resources if isinstance(resource, Session)]

    @property
    def provider_sessions(self) -> list[ProviderSession]:
        """The heads of the live sessions' chains."""
        return [resource for resource in self.resources if isinstance(resource, ProviderSession)]

    @property
    def threads(self) -> list[Thread]:
        """The threads that the filter names."""
        return [resource for resource in self.resources if isinstance(resource, Thread)]

    @property
    def messages(self) -> list[Message]:
        """Their messages, each thread's in its order."""
        return [resource for resource in self.resources if isinstance(resource, Message)]


@dataclass(frozen=True, slots=True)
class Resync:
    """The stream could not go on without a hole; a `Snapshot` follows unless none was wanted."""

    reason: str


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer, while it is being given.

    It has no position and never comes again. Any of them may be missing: the answer itself is the `message.created`
    that follows.

    Attributes:
        message_id: of the answer.
        index: which piece of it this is, from 0.
    """

    thread_id: str
    message_id: str
    index: int
    text: str
    at: datetime


Item = Opened | Snapshot | Event | Resync | Delta


class StreamState(StrEnum):
    """Where a subscription's connection stands. Stale: nothing was heard for twice as long as it should take."""

    CONNECTING = "connecting"
    OPEN = "open"
    WAITING = "waiting"
    STALE = "stale"
    CLOSED = "closed"
