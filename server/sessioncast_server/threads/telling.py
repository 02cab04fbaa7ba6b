"""What has become of threads in a transaction, for whoever counts and logs it after the commit."""

from dataclasses import dataclass
from datetime import datetime

import orjson

from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.threads.rules import Owned
from sessioncast_shared.events import MESSAGE_DELTA, EventType, Kind

_COUNTED = frozenset({EventType.THREAD_PRUNED.value, EventType.THREAD_QUARANTINED.value})
_REASONED = _COUNTED | {EventType.THREAD_DELETED.value}


@dataclass(frozen=True, slots=True)
class Told:
    """An event of a thread, without anything that was said in it.

    Attributes:
        count: messages that it is about.
    """

    type: EventType
    project: str
    user: str
    thread: str
    count: int = 1
    reason: str | None = None


def told(tx: WriteTx) -> list[Told]:
    """The events of threads that a transaction has staged."""
    found = []
    for event in tx.staged:
        if event.kind != Kind.THREAD.value:
            continue
        count, reason = 1, None
        if event.type in _REASONED:
            data = orjson.loads(event.data)
            count, reason = data.get("count", 1), data["reason"]
        found.append(
            Told(EventType(event.type), event.channel, event.owner or "", event.thread_id or "", count, reason)
        )
    return found


def delta(name: Owned, message_id: str, index: int, text: str, *, at: datetime) -> bytes:
    """A piece of a message that is being written, as the JSON of an event without position."""
    return json_bytes(
        {
            "type": MESSAGE_DELTA,
            "at": at,
            "project_id": name.project,
            "thread_id": name.id,
            "data": {"user": name.user, "message_id": message_id, "index": index, "text": text},
        }
    )
