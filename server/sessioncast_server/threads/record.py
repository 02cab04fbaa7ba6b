"""A thread and its messages as they are stored, and as they are shown."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

import orjson

from sessioncast_server.threads.rules import Item, Owned, calls_of, checksum, expires_at, leads


@dataclass(frozen=True, slots=True)
class Thread:
    """A row of the table, column by column."""

    key: str
    id: str
    project_id: str
    user_id: str
    title: str | None
    version: int
    message_seq: int
    message_count: int
    kept_from: int
    created_at: datetime
    last_activity_at: datetime

    @property
    def name(self) -> Owned:
        """Whose it is."""
        return Owned(self.project_id, self.user_id, self.id)

    def columns(self) -> dict[str, Any]:
        """The thread as parameters of an INSERT."""
        return {name: getattr(self, name) for name in FIELDS}

    def resource(self, keep: timedelta) -> dict[str, Any]:
        """The thread as the resource.

        Args:
            keep: how long it is kept without activity.
        """
        return {
            "id": self.id,
            "project_id": self.project_id,
            "user": self.user_id,
            "title": self.title,
            "version": self.version,
            "message_seq": self.message_seq,
            "message_count": self.message_count,
            "created_at": self.created_at,
            "last_activity_at": self.last_activity_at,
            "expires_at": expires_at(self.last_activity_at, keep),
        }


FIELDS = tuple(column.name for column in fields(Thread))


@dataclass(frozen=True, slots=True)
class Message:
    """A message that is what was written.

    Attributes:
        body: its JSON, without `thread_id` and `seq`.
    """

    key: str
    seq: int
    body: bytes

    @classmethod
    def of(cls, item: Item, *, key: str, seq: int, id_: str, at: datetime) -> "Message":
        """A new one."""
        whole = {"id": id_, "role": item.role, "content": item.content, "created_at": at}
        return cls(key, seq, orjson.dumps(whole, option=orjson.OPT_UTC_Z))

    def columns(self, item: Item, id_: str) -> dict[str, Any]:
        """A new one as parameters of an INSERT."""
        return {
            "thread_key": self.key,
            "seq": self.seq,
            "id": id_,
            "body": self.body,
            "checksum": checksum(self.key, self.seq, self.body),
            "leads": leads(item.content),
        }

    def calls(self, item: Item) -> list[dict[str, Any]]:
        """Its rows in the table of calls."""
        return [{"thread_key": self.key, "seq": self.seq, "call": call} for call in sorted(calls_of(item.content))]

    def resource(self, thread: Owned) -> bytes:
        """The message as the resource's JSON. Ids of threads are unique per user only, so it names the user, too."""
        return b"%s%d,%s" % (thread.opening, self.seq, self.body[1:])

    def parsed(self) -> dict[str, Any]:
        """`id`, `role`, `content` and `created_at` (a text)."""
        value: dict[str, Any] = orjson.loads(self.body)
        return value


@dataclass(frozen=True, slots=True)
class Reading:
    """Messages that were read, oldest first.

    Attributes:
        corrupt: `seq` of those that are not what was written; they are left out.
        more: whether there are others behind them.
    """

    messages: Sequence[Message]
    corrupt: Sequence[int]
    more: bool

    def last(self, *, newest_first: bool) -> int:
        """`seq` of the one that was read last, corrupt or not."""
        seqs = [*(message.seq for message in self.messages), *self.corrupt]
        return min(seqs) if newest_first else max(seqs)
