"""Rules of threads: whose they are, what of them belongs together, and whether it is what was written."""

import hashlib
import uuid
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import orjson

_THREADS = uuid.UUID("0c3f7a52-6a2e-5d0b-9f54-3f2b1c8e7d61")
"""Namespace of threads' keys."""

_CALL_MAX = 64
_LEADS = "reasoning"


@dataclass(frozen=True)
class Owned:
    """Names a thread. Users and projects never meet: another user's thread of the same id is another thread.

    Attributes:
        id: a UUID, canonical.
    """

    project: str
    user: str
    id: str

    @cached_property
    def key(self) -> str:
        """What stands for all three."""
        # None of them holds a line feed: project ids and UUIDs cannot, users are printable.
        return str(uuid.uuid5(_THREADS, f"{self.project}\n{self.user}\n{self.id}"))

    @cached_property
    def opening(self) -> bytes:
        """How the JSON of each of its messages begins; its `seq` follows."""
        return orjson.dumps({"thread_id": self.id, "user": self.user, "seq": 0})[:-2]


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms threads are kept.

    Attributes:
        messages_max: newest messages that stay.
        keep: how long a thread is kept without activity.
        read_bytes: messages that are read at a time; at least one is.
        waiter_lease_s: how long a place in the queue outlives its last renewal.
    """

    messages_max: int
    keep: timedelta
    read_bytes: int
    waiter_lease_s: float


@dataclass(frozen=True, slots=True)
class Item:
    """What is to become a message.

    Attributes:
        id: a UUID of the client's own, None for one of ours.
    """

    role: str
    content: Any
    id: str | None = None


def role_of(content: Any) -> str | None:
    """The role that an item says itself: by `role`, or by `type` (items of OpenAI's Responses API); None: it does not.

    What has a type and no role is the assistant's, unless it is what came of a call.
    """
    if not isinstance(content, Mapping):
        return None
    role, kind = content.get("role"), content.get("type")
    if isinstance(role, str):
        return role
    if isinstance(kind, str):
        return "tool" if kind.endswith(("_output", "_response")) else "assistant"
    return None


def calls_of(content: Any) -> set[str]:
    """The calls of tools that an item makes or answers, each as a text of at most 64 characters.

    Known are items of OpenAI's Responses API (`call_id`, `approval_request_id`, the `id` of what waits for approval),
    messages of its chat completions (`tool_calls`, `tool_call_id`) and of Anthropic's API (`tool_use`, `tool_result`).
    """
    if not isinstance(content, Mapping):
        return set()
    named = [content.get("call_id"), content.get("tool_call_id"), content.get("approval_request_id")]
    if content.get("type") == "mcp_approval_request":
        named.append(content.get("id"))
    named += [part.get("id") for part in _mappings(content.get("tool_calls"))]
    for part in _mappings(content.get("content")):
        if part.get("type") == "tool_use":
            named.append(part.get("id"))
        elif part.get("type") == "tool_result":
            named.append(part.get("tool_use_id"))
    return {_short(name) for name in named if isinstance(name, str) and name}


def leads(content: Any) -> bool:
    """Whether an item is worth nothing without the one after it: reasoning, which is taken with its result only."""
    return isinstance(content, Mapping) and content.get("type") == _LEADS


def joined(calls: Iterable[tuple[int, str]], lost: Collection[int], lost_calls: Collection[str]) -> set[int]:
    """Messages that have to go because something that they belong to does.

    Args:
        calls: of the messages that would stay, by `seq`.
        lost: `seq` of those of them that go in any case.
        lost_calls: calls of the messages that go.
    """
    by_call: dict[str, set[int]] = {}
    by_seq: dict[int, set[str]] = {}
    for seq, call in calls:
        by_call.setdefault(call, set()).add(seq)
        by_seq.setdefault(seq, set()).add(call)
    gone = set(lost)
    open_calls = [*lost_calls, *(call for seq in gone for call in by_seq.get(seq, ()))]
    seen = set()
    while open_calls:
        call = open_calls.pop()
        if call in seen:
            continue
        seen.add(call)
        for seq in by_call.get(call, ()):
            gone.add(seq)
            open_calls += by_seq[seq] - seen
    return gone


def ranges(seqs: Iterable[int]) -> list[list[int]]:
    """Rising numbers as `[first, last]` of each row of neighbours."""
    found: list[list[int]] = []
    for seq in sorted(seqs):
        if found and found[-1][1] == seq - 1:
            found[-1][1] = seq
        else:
            found.append([seq, seq])
    return found


def checksum(key: str, seq: int, body: bytes) -> int:
    """CRC-32 (ISO 3309) of a message where it stands: neither its text nor its place can change unseen."""
    return zlib.crc32(body, zlib.crc32(b"%s:%d:" % (key.encode(), seq)))


def intact(key: str, seq: int, body: Any, kept: Any) -> bool:
    """Whether a stored message is what was written."""
    return isinstance(body, bytes) and kept == checksum(key, seq, body)


def expires_at(last_activity_at: datetime, keep: timedelta) -> datetime:
    """When a thread is cleaned away, if nothing is done with it before."""
    return last_activity_at + keep


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [part for part in value if isinstance(part, Mapping)] if isinstance(value, list) else []


def _short(name: str) -> str:
    if len(name) <= _CALL_MAX and "\0" not in name:
        return name
    return hashlib.blake2b(name.encode(), digest_size=_CALL_MAX // 2).hexdigest()
