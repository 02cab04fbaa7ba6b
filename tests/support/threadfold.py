"""What the events of a thread amount to, for somebody who knows nothing else of it."""

from typing import Any

import orjson

from sessioncast_server.db.transaction import Staged

Json = dict[str, Any]


class Fold:
    """A thread and its messages, held up to date by what is told.

    Attributes:
        thread: None before it is made and after it is deleted.
        messages: by `seq`.
    """

    def __init__(self) -> None:
        self.thread: Json | None = None
        self.messages: dict[int, Json] = {}

    def hear(self, event: Staged) -> None:
        """An event as it is staged."""
        self.take(event.type, event.version, orjson.loads(event.data))

    def take(self, type_: str, version: int | None, data: Json) -> None:
        """An event; versions rise by one with each, and each holds the whole thread as it is then."""
        thread: Json = data["thread"] if type_.startswith("message.") else data
        assert version == thread["version"] == (1 if self.thread is None else self.thread["version"] + 1)
        match type_:
            case "message.created":
                self.messages[data["seq"]] = {name: data[name] for name in data if name != "thread"}
                assert data["seq"] == thread["message_seq"]
            case "message.popped":
                assert self.messages.pop(data["seq"]) == {name: data[name] for name in data if name != "thread"}
            case "thread.pruned" | "thread.quarantined":
                self._remove(data)
            case "thread.deleted":
                self.messages.clear()
            case _:
                assert type_ == "thread.created"
        kept = {name: thread[name] for name in thread if name not in ("removed", "count", "reason")}
        self.thread = None if type_ == "thread.deleted" else kept
        if self.thread is not None:
            assert self.thread["message_count"] == len(self.messages)

    def show(self, resources: list[Json]) -> None:
        """A snapshot."""
        for resource in resources:
            if resource["kind"] == "thread":
                self.thread = resource["data"]
            else:
                self.messages[resource["data"]["seq"]] = resource["data"]

    def is_shown(self, thread: Json, messages: list[Json]) -> None:
        """It is what is shown."""
        assert self.thread == orjson.loads(orjson.dumps(thread, option=orjson.OPT_UTC_Z))
        assert [self.messages[seq] for seq in sorted(self.messages)] == messages

    def _remove(self, data: Json) -> None:
        gone = [seq for first, last in data["removed"] for seq in range(first, last + 1) if seq in self.messages]
        assert len(gone) == data["count"] > 0
        for seq in gone:
            del self.messages[seq]
