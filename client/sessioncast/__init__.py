"""Live sessions for AI-agent applications: the Python client.

async with Client() as client:
    async with client.subscribe("demo") as stream:
        async for item in stream:
            ...
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sessioncast.bulk import BulkItem, BulkOutcome, Deletion, Replacement
    from sessioncast.cached import Cached
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
        PushDisabled,
        ResumeFailed,
        SecurityViolation,
        SessionBeingModified,
        SessioncastError,
        SessionDeleted,
        SessionReplaced,
        SlowConsumer,
        TooLarge,
        TooMany,
        Unauthenticated,
        Unavailable,
    )
    from sessioncast.iteration import Iteration
    from sessioncast.keep_fresh import KeepFresh
    from sessioncast.limits import Limits
    from sessioncast.live.change import Change
    from sessioncast.live.live import Live
    from sessioncast.messages import NewMessage
    from sessioncast.resumable import Attempt, Baseline, Resumable, ResumeWaits
    from sessioncast.stats import Stats
    from sessioncast.streams.items import Delta, Item, Opened, OtherResource, Resync, Snapshot, StreamState
    from sessioncast.streams.subscription import Subscription
    from sessioncast.sync import SyncClient
    from sessioncast.threadrun import Run
    from sessioncast.use import Use
    from sessioncast_shared.events import Event, Kind
    from sessioncast_shared.phases import Phase
    from sessioncast_shared.providers import (
        AuditEntry,
        Chain,
        Decision,
        FailureReason,
        FreshReason,
        ProjectVersion,
        ProviderSession,
        ProviderState,
        ResumeDecision,
        Totals,
        Usage,
        UsageMetrics,
    )
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
    from sessioncast_shared.threads import Message, Thread, ThreadRun, ThreadStats

_NAMES = {
    "sessioncast.bulk": "BulkItem BulkOutcome Deletion Replacement",
    "sessioncast.cached": "Cached",
    "sessioncast.client": "Client",
    "sessioncast.confirmation": (
        "Difference ExistingSession ModelChangeRequiresConfirmation SessionActive SessionChanged"
    ),
    "sessioncast.errors": (
        "CommitUnknown ConnectionLost CreateFailed Fenced Forbidden IllegalTransition Invalid KeyReused "
        "ModelNotFound NotFound PreconditionFailed ProblemError ProtocolError PushDisabled ResumeFailed "
        "SecurityViolation SessionBeingModified SessionDeleted SessionReplaced SessioncastError SlowConsumer "
        "TooLarge TooMany Unauthenticated Unavailable"
    ),
    "sessioncast.iteration": "Iteration",
    "sessioncast.keep_fresh": "KeepFresh",
    "sessioncast.limits": "Limits",
    "sessioncast.live.change": "Change",
    "sessioncast.live.live": "Live",
    "sessioncast.messages": "NewMessage",
    "sessioncast.resumable": "Attempt Baseline Resumable ResumeWaits",
    "sessioncast.stats": "Stats",
    "sessioncast.streams.items": "Delta Item Opened OtherResource Resync Snapshot StreamState",
    "sessioncast.streams.subscription": "Subscription",
    "sessioncast.sync": "SyncClient",
    "sessioncast.threadrun": "Run",
    "sessioncast.use": "Use",
    "sessioncast_shared.events": "Event Kind",
    "sessioncast_shared.phases": "Phase",
    "sessioncast_shared.providers": (
        "AuditEntry Chain Decision FailureReason FreshReason ProjectVersion ProviderSession ProviderState "
        "ResumeDecision Totals Usage UsageMetrics"
    ),
    "sessioncast_shared.resources": (
        "Flag Model OutputChunk OutputRange Page Project RegisteredModel Session StartOutcome Task TaskDetail"
    ),
    "sessioncast_shared.statuses": "Status",
    "sessioncast_shared.threads": "Message Thread ThreadRun ThreadStats",
}
"""What comes from where: nothing is loaded before it is asked for."""

_WHERE = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "Attempt",
    "AuditEntry",
    "Baseline",
    "BulkItem",
    "BulkOutcome",
    "Cached",
    "Chain",
    "Change",
    "Client",
    "CommitUnknown",
    "ConnectionLost",
    "CreateFailed",
    "Decision",
    "Deletion",
    "Delta",
    "Difference",
    "Event",
    "ExistingSession",
    "FailureReason",
    "Fenced",
    "Flag",
    "Forbidden",
    "FreshReason",
    "IllegalTransition",
    "Invalid",
    "Item",
    "Iteration",
    "KeepFresh",
    "KeyReused",
    "Kind",
    "Limits",
    "Live",
    "Message",
    "Model",
    "ModelChangeRequiresConfirmation",
    "ModelNotFound",
    "NewMessage",
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
    "ProjectVersion",
    "ProtocolError",
    "ProviderSession",
    "ProviderState",
    "PushDisabled",
    "RegisteredModel",
    "Replacement",
    "Resumable",
    "ResumeDecision",
    "ResumeFailed",
    "ResumeWaits",
    "Resync",
    "Run",
    "SecurityViolation",
    "Session",
    "SessionActive",
    "SessionBeingModified",
    "SessionChanged",
    "SessionDeleted",
    "SessionReplaced",
    "SessioncastError",
    "SlowConsumer",
    "Snapshot",
    "StartOutcome",
    "Stats",
    "Status",
    "StreamState",
    "Subscription",
    "SyncClient",
    "Task",
    "TaskDetail",
    "Thread",
    "ThreadRun",
    "ThreadStats",
    "TooLarge",
    "TooMany",
    "Totals",
    "Unauthenticated",
    "Unavailable",
    "Usage",
    "UsageMetrics",
    "Use",
]

if not TYPE_CHECKING:  # a checker is to miss what is not there

    def __getattr__(name: str) -> Any:
        """What the package has, loaded now (PEP 562)."""
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(_WHERE[name]), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_WHERE})
