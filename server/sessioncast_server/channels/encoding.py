"""An event as JSON: the same bytes live, from another node and from the log."""

from typing import Any

import orjson

from sessioncast_server.jsontext import fitted

_OPTIONAL = ("task_id", "session_id", "thread_id", "phase", "model", "updated_at", "version")


def encode_event(channel: str, epoch: str, offset: int, fields: Any, data: bytes) -> bytes:
    """The event as one line of JSON.

    Args:
        fields: a `Staged` event or a row of the event table.
        data: its `data`, already JSON.
    """
    event: dict[str, Any] = {
        "position": f"{epoch}:{offset}",
        "type": fields.type,
        "at": fields.at,
        "project_id": channel,
    }
    for name in _OPTIONAL:
        value = getattr(fields, name)
        if value is not None:
            event[name] = value
    event["data"] = orjson.Fragment(data)
    return fitted(orjson.dumps(event, option=orjson.OPT_UTC_Z))


def encode_output(first: int, last: int, chunks: list[dict[str, Any]]) -> bytes:
    """`data` of an output event: the range of `seq` and the chunks in it."""
    return orjson.dumps({"first": first, "last": last, "chunks": chunks}, option=orjson.OPT_UTC_Z)
