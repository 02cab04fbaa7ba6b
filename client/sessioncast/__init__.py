"""Live sessions for AI-agent applications: the Python client.

async with Client() as client:
    async with client.subscribe("demo") as stream:
        async for item in stream:
            ...
"""

from sessioncast.client import Client
from sessioncast.errors import (
    ConfirmationRequired,
    ConnectionLost,
    ExistingSession,
    Fenced,
    Forbidden,
    IllegalTransition,
    Invalid,
    NotFound,
    PreconditionFailed,
    ProblemError,
    ProtocolError,
    SessionActive,
    SessionBusy,
    SessioncastError,
    SessionChanged,
    SessionDeleted,
    SessionReplaced,
    TooMany,
    Unauthenticated,
)
from sessioncast.items import Item, Opened, OtherResource, Resync, Snapshot, StreamState
from sessioncast.limits import Limits
from sessioncast.subscription import Subscription
from sessioncast_shared.events import Event, Kind
from sessioncast_shared.phases import Phase
from sessioncast_shared.resources import (
    Model,
    OutputChunk,
    OutputRange,
    Page,
    Project,
    Session,
    StartOutcome,
    Task,
    TaskDetail,
)
from sessioncast_shared.statuses import Status

__all__ = [
    "Client",
    "ConfirmationRequired",
    "ConnectionLost",
    "Event",
    "ExistingSession",
    "Fenced",
    "Forbidden",
    "IllegalTransition",
    "Invalid",
    "Item",
    "Kind",
    "Limits",
    "Model",
    "NotFound",
    "Opened",
    "OtherResource",
    "OutputChunk",
    "OutputRange",
    "Page",
    "Phase",
    "PreconditionFailed",
    "ProblemError",
    "Project",
    "ProtocolError",
    "Resync",
    "Session",
    "SessionActive",
    "SessionBusy",
    "SessionChanged",
    "SessionDeleted",
    "SessionReplaced",
    "SessioncastError",
    "Snapshot",
    "StartOutcome",
    "Status",
    "StreamState",
    "Subscription",
    "Task",
    "TaskDetail",
    "TooMany",
    "Unauthenticated",
]
