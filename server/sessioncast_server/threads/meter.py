"""What becomes of threads, as metrics and log lines. Never what is said in them."""

from collections.abc import Iterable

import structlog

from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.threads.rules import Owned
from sessioncast_server.threads.telling import Told
from sessioncast_shared.events import EventType

_log = structlog.get_logger(__name__)


class Meter:
    """Counts on the node's metrics, and logs, after the commit."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics.threads

    def told(self, events: Iterable[Told]) -> None:
        """These were committed."""
        metrics = self._metrics
        for event in events:
            names = {"project": event.project, "user": event.user, "thread": event.thread}
            match event.type:
                case EventType.THREAD_CREATED:
                    metrics.created.inc()
                    _log.info("thread created", **names)
                case EventType.THREAD_DELETED:
                    metrics.deleted.labels(event.reason).inc()
                    _log.info("thread cleaned" if event.reason == "idle" else "thread deleted", **names)
                case EventType.THREAD_PRUNED:
                    metrics.removed.labels(event.reason).inc(event.count)
                    _log.info("thread pruned", **names, count=event.count, reason=event.reason)
                case EventType.THREAD_QUARANTINED:
                    metrics.removed.labels(event.reason).inc(event.count)
                    _log.error("messages quarantined: they are not what was written", **names, count=event.count)
                case EventType.MESSAGE_CREATED:
                    metrics.appended.inc()
                case EventType.MESSAGE_POPPED:
                    metrics.removed.labels("popped").inc()

    def foreign(self, name: Owned) -> None:
        """A thread was asked for that is another user's only."""
        self._metrics.foreign.inc()
        _log.warning("refused: the thread is another user's", project=name.project, user=name.user, thread=name.id)

    def answering(self, change: int) -> None:
        """So many responders more, or fewer, are at work."""
        self._metrics.answering.inc(change)

    def answered(self, outcome: str, name: Owned, *, seconds: float | None = None, error: str | None = None) -> None:
        """What became of an answer: `kept`, `degraded`, `failed` or `fenced`."""
        self._metrics.exchanges.labels(outcome).inc()
        if seconds is not None:
            self._metrics.answer_seconds.observe(seconds)
        names = {"project": name.project, "user": name.user, "thread": name.id}
        match outcome:
            case "degraded":
                _log.warning("answered without the thread: it was not kept", **names, error=error)
            case "failed":
                _log.error("the responder gave no answer", **names, error=error)
            case "fenced":
                _log.warning("an answer came too late: its run was over", **names)
