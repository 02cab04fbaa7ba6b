"""What both transports say, as one set of frames: JSON in, frames out, no I/O."""

from dataclasses import dataclass
from typing import Any

from sessioncast.errors import ProtocolError


@dataclass(frozen=True, slots=True)
class Ready:
    """First frame of a stream."""

    state: str
    reason: str | None
    from_: str | None
    to: str | None
    position: str | None


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """A part of a snapshot; the last one has the position. `read`: it is too large, and this is where to read it."""

    resources: list[dict[str, Any]]
    position: str | None
    more: bool
    read: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Events:
    """Events in the order of the log, as JSON values."""

    events: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Moved:
    """The stream's safe position, without an event: a heartbeat or the end of a replay."""

    position: str


@dataclass(frozen=True, slots=True)
class ResyncNotice:
    """A snapshot follows in the middle of the stream."""

    reason: str


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The server ends the stream and asks the client to come back after a while."""

    retry_s: float | None
    reason: str


Frame = Ready | SnapshotPage | Events | Moved | ResyncNotice | Goodbye


def control_frame(name: str, body: Any, url: str) -> Frame | None:
    """The frame of a control message; None for one that a newer server may send.

    Args:
        name: the SSE event's name; of the WebSocket ops, `subscribed` is `ready`.

    Raises:
        ProtocolError: it lacks what it is for.
    """
    if not isinstance(body, dict):
        raise ProtocolError(url, f"a {name} frame that is no object")
    try:
        match name:
            case "ready" | "subscribed":
                state = body["state"]
                if state not in ("resumed", "snapshot", "gap"):
                    raise ProtocolError(url, f"a stream that is {str(state)[:40]!r}")
                return Ready(state, body.get("reason"), body.get("from"), body.get("to"), body.get("position"))
            case "snapshot":
                more = bool(body.get("more", False))
                read = tuple(body["read"]) if body.get("too_large") else None
                return SnapshotPage(_list(body["resources"]), None if more else body["position"], more, read)
            case "events":
                return Events(_list(body["events"]))
            case "resync":
                return ResyncNotice(str(body.get("reason", "")))
            case "goodbye":
                retry_ms = body.get("retry_ms")
                return Goodbye(None if retry_ms is None else float(retry_ms) / 1000, str(body.get("reason", "")))
            case "heartbeat" if isinstance(body.get("position"), str):
                return Moved(body["position"])
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(url, f"a {name} frame without {error}") from error
    return None


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("a list")
    return value
