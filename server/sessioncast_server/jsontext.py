"""Values as JSON text, for answers, events and snapshots alike."""

from typing import Any

import orjson
from pydantic import BaseModel


def json_bytes(value: Any) -> bytes:
    """The value as JSON; times in UTC with `Z`. Models, dataclasses, enumerations, UUIDs and aware times are known."""
    return fitted(orjson.dumps(value, default=_plain, option=orjson.OPT_UTC_Z))


def fitted(data: bytes) -> bytes:
    """The same bytes in as much memory as they need: those that orjson 3.13 makes hold at least 4 kB each."""
    return memoryview(data).tobytes()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"no JSON for {type(value).__name__}")
