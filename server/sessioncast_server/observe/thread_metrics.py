"""What a node counts of threads, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_ANSWERS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)


class ThreadMetrics:
    """Part of a node's metrics, on its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"sessioncast_{name}", meaning, labels, registry=registry)

        self.created = counter("threads_created", "Threads made.")
        self.deleted = counter("threads_deleted", "Threads deleted, by why: deleted or idle.", "reason")
        self.appended = counter("thread_messages_appended", "Messages appended to threads.")
        self.removed = counter(
            "thread_messages_removed", "Messages that went, by why: limit, cleared, popped or corrupt.", "reason"
        )
        self.foreign = counter("threads_refused", "Requests for a thread that is another user's only.")
        self.exchanges = counter(
            "thread_exchanges", "Answers in chats, by what became of them: kept, degraded, failed or fenced.", "outcome"
        )
        self.answer_seconds = Histogram(
            "sessioncast_thread_answer_seconds", "Time that responders took.", buckets=_ANSWERS, registry=registry
        )
        self.responder_threads = Gauge(
            "sessioncast_thread_responder_threads",
            "Threads of responders that are not async, those that were given up included.",
            registry=registry,
        )
        self.answering = Gauge("sessioncast_thread_answering", "Responders at work.", registry=registry)
