"""An answer as bytes: a line of JSON, then the body. See docs/redis.md."""

import re
from hashlib import blake2b
from typing import Any

import orjson

from sessioncast_server.cache.base import Kept, Key
from sessioncast_shared.position import BadPositionError, Position

_VERSION = 1
_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')


def name_of(key: Key) -> str:
    """The name it is kept under; the hash tag keeps a task in one slot of a cluster."""
    return f"sessioncast:lookup:{{{key.task_id}}}:{key.view}"


def encode(key: Key, kept: Kept) -> bytes:
    """The answer to a question."""
    head = {
        "v": _VERSION,
        "key": list(key),
        "project": kept.project,
        "position": str(kept.at),
        "etag": kept.etag,
        "digest": _digest(kept.body),
    }
    return orjson.dumps(head) + b"\n" + kept.body


def decode(key: Key, value: bytes) -> Kept | None:
    """The answer to a question; None for what `encode` did not make for it."""
    line, _, body = value.partition(b"\n")
    try:
        match orjson.loads(line):
            case {
                "v": version,
                "key": [str(task_id), str(view)],
                "project": str(project),
                "position": str(position),
                "etag": str(etag),
                "digest": str(digest),
            } if version == _VERSION and (task_id, view) == key and _ETAG.fullmatch(etag) and digest == _digest(body):
                return Kept(project, Position.parse(position), etag, body)
            case _:
                return None
    except (orjson.JSONDecodeError, BadPositionError):
        return None


def _digest(body: Any) -> str:
    return blake2b(body, digest_size=8).hexdigest()
