"""Live sessions for AI-agent applications: the Python client.

async with Client() as client:
    async with client.subscribe("demo") as stream:
        async for item in stream:
            ...
"""

from sessioncast.bulk import BulkItem, BulkOutcome, Deletion, Replacement
from sessioncast.client import Client
from sessioncast.confirmation import (
    Difference,
    ExistingSession,
    ModelChangeRequiresConfirmation,
    SessionActive,
    SessionChanged,
)
from sessioncast.errors import (
    CommitUnknown,
    ConnectionLost,
    CreateFailed,
    Fenced,
    Forbidden,
    IllegalTransition,
    Invalid,
    KeyReused,
    ModelNotFound,
    NotFound,
    PreconditionFailed,
    ProblemError,
    ProtocolError,
    SessionBeingModified,
    SessioncastError,
    SessionDeleted,
    SessionReplaced,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from sessioncast.items import Item, Opened, OtherResource, Resync, Snapshot, StreamState
from sessioncast.limits import Limits
from sessioncast.subscription import Subscription
from sessioncast_shared.events import Event, Kind
from sessioncast_shared.phases import Phase
from sessioncast_shared.resources import (
    Flag,
    Model,
    OutputChunk,
    OutputRange,
    Page,
    Project,
    RegisteredModel,
    Session,
    StartOutcome,
    Task,
    TaskDetail,
)
from sessioncast_shared.statuses import Status

__all__ = [
    "BulkItem",
    "BulkOutcome",
    "Client",
    "CommitUnknown",
    "ConnectionLost",
    "CreateFailed",
    "Deletion",
    "Difference",
    "Event",
    "ExistingSession",
    "Fenced",
    "Flag",
    "Forbidden",
    "IllegalTransition",
    "Invalid",
    "Item",
    "KeyReused",
    "Kind",
    "Limits",
    "Model",
    "ModelChangeRequiresConfirmation",
    "ModelNotFound",
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
    "RegisteredModel",
    "Replacement",
    "Resync",
    "Session",
    "SessionActive",
    "SessionBeingModified",
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
    "Unavailable",
]
