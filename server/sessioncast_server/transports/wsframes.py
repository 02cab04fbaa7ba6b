"""Frames of the WebSocket, without a socket: what clients may say, and how the hub's words read there."""

import random
from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt
from websockets.frames import Frame, Opcode

from sessioncast_server.channels.log import Entry
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.problems import Problem
from sessioncast_server.web import strictjson
from sessioncast_server.web.inputs import validated
from sessioncast_shared.codes import Close, Code
from sessioncast_shared.position import Position

_STRICT = ConfigDict(frozen=True, extra="forbid")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Ids = Annotated[list[str], BeforeValidator(_as_list), Field(max_length=1000)]
Ref = Annotated[str, Field(max_length=200)] | StrictInt | None


class FilterFields(BaseModel):
    """A filter as JSON; each may be one text or a list."""

    model_config = _STRICT

    task: Ids = []
    session: Ids = []
    thread: Ids = []
    kinds: Ids | None = None


class Auth(BaseModel):
    """Who the connection is, first or again."""

    model_config = _STRICT

    op: Literal["auth"]
    token: Annotated[str, Field(max_length=16384)]
    ref: Ref = None


class Subscribe(BaseModel):
    """One more subscription."""

    model_config = _STRICT

    op: Literal["subscribe"]
    project: Annotated[str, Field(max_length=63)]
    filter: FilterFields = FilterFields()
    position: str | None = None
    snapshot: Literal["auto", "always", "never"] = "auto"
    ref: Ref = None


class Unsubscribe(BaseModel):
    """One subscription less."""

    model_config = _STRICT

    op: Literal["unsubscribe"]
    key: Annotated[str, Field(max_length=8192)]
    ref: Ref = None


class Ping(BaseModel):
    """Is anybody there?"""

    model_config = _STRICT

    op: Literal["ping"]
    ref: Ref = None


_MODELS: dict[str, type[BaseModel]] = {
    "auth": Auth,
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "ping": Ping,
}

ClientFrame = Auth | Subscribe | Unsubscribe | Ping


def read_frame(text: str | None, *, max_bytes: int) -> ClientFrame:
    """What a client said; None stands for a binary frame.

    Raises:
        Problem: 413 `too_large`, 400 `bad_json` and its kin, 400 `bad_request` for an unknown op, 422 `invalid`.
    """
    if text is None:
        raise Problem(400, Code.BAD_REQUEST, "Frames are text; binary ones are not understood.")
    if len(text) > max_bytes or len(raw := text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise Problem(413, Code.TOO_LARGE, f"The frame is larger than {max_bytes} bytes.")
    value = strictjson.loads(raw, max_depth=16, what="frame")
    op = value.get("op") if isinstance(value, dict) else None
    model = _MODELS.get(op) if isinstance(op, str) else None
    if model is None:
        raise Problem(400, Code.BAD_REQUEST, f"A frame needs an op; one of {', '.join(_MODELS)}.")
    return cast("ClientFrame", validated(model, value, whole="frame"))


def ref_of(text: str) -> Any:
    """The `ref` of a frame that was refused, as far as it can be read."""
    try:
        value = orjson.loads(text)
    except ValueError:
        return None
    ref = value.get("ref") if isinstance(value, dict) else None
    return ref if isinstance(ref, str | int) and not isinstance(ref, bool) and len(str(ref)) <= 200 else None


def frame(op: str, **fields: Any) -> bytes:
    """A frame of the server's; members that are None are left out."""
    return orjson.dumps({"op": op, **{name: value for name, value in fields.items() if value is not None}})


class WebSocketFraming:
    """Frames of the subscriptions with one key: equal for all connections that have it."""

    __slots__ = ("_key", "key")

    def __init__(self, subscription: str) -> None:
        self.key = f"ws:{subscription}"
        self._key = json_bytes(subscription)

    def events(self, entries: Sequence[Entry]) -> bytes:
        """`events`, all in one frame."""
        return b'{"op":"events","key":%s,"events":[%s]}' % (self._key, b",".join(entry.body for entry in entries))

    def replayed(self, position: Position) -> bytes:  # noqa: ARG002  the words of a framing
        """Nothing: `subscribed` has said where the replay leads."""
        return b""

    def snapshot(self, page: bytes, position: Position | None) -> bytes:
        """`snapshot`."""
        if position is None:
            return b'{"op":"snapshot","key":%s,%s,"more":true}' % (self._key, page)
        text = str(position).encode()
        return b'{"op":"snapshot","key":%s,%s,"position":"%s","more":false}' % (self._key, page, text)

    def heartbeat(self, position: Position, head: Position) -> bytes:
        """`heartbeat`."""
        return b'{"op":"heartbeat","key":%s,"position":"%s","head":"%s"}' % (
            self._key,
            str(position).encode(),
            str(head).encode(),
        )

    def resync(self, reason: str) -> bytes:
        """`resync`."""
        return b'{"op":"resync","key":%s,"reason":%s}' % (self._key, orjson.dumps(reason))


class RawFraming(WebSocketFraming):
    """The same, as bytes on the wire (RFC 6455, section 5.2): one unmasked text frame each."""

    __slots__ = ()

    def __init__(self, subscription: str) -> None:
        super().__init__(subscription)
        self.key = f"raw {self.key}"

    def events(self, entries: Sequence[Entry]) -> bytes:
        """`events`."""
        return raw(super().events(entries))

    def snapshot(self, page: bytes, position: Position | None) -> bytes:
        """`snapshot`."""
        return raw(super().snapshot(page, position))

    def heartbeat(self, position: Position, head: Position) -> bytes:
        """`heartbeat`."""
        return raw(super().heartbeat(position, head))

    def resync(self, reason: str) -> bytes:
        """`resync`."""
        return raw(super().resync(reason))


def refusal(problem: Problem, ref: Any) -> bytes:
    """`error`."""
    return frame("error", code=problem.code, detail=problem.detail, ref=ref, **problem.fields)


def raw(data: bytes) -> bytes:
    """A text frame on the wire."""
    return Frame(Opcode.TEXT, data).serialize(mask=False)


def goodbye(reason: str, retry_ms: int) -> bytes:
    """`goodbye`, and when to come back: with jitter, so that not everybody does at once."""
    wait = retry_ms + random.randrange(retry_ms * 2)  # noqa: S311  spreads clients, guards nothing
    return frame("goodbye", retry_ms=wait, reason=reason)


def closing(reason: str) -> Close:
    """The close code that follows a goodbye."""
    codes = {"expired": Close.UNAUTHENTICATED, "too_slow": Close.TOO_SLOW, "overloaded": Close.TOO_MANY}
    return codes.get(reason, Close.DRAINING)
