"""Messages to be appended: what they are made of, and how many go into one request."""

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from sessioncast.errors import TooLarge
from sessioncast_shared.codes import Code
from sessioncast_shared.threads import Message

APPEND_MESSAGES = 1000
"""The server takes no more in one request."""

_ENVELOPE_BYTES = 1024
"""More than what stands around the messages in a request."""


@runtime_checkable
class Dumps(Protocol):
    """An object that can be told as JSON, as pydantic's models can."""

    def model_dump(self, *, mode: str, exclude_unset: bool) -> Any:
        """What it is made of."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message whose role, or id, is said.

    Attributes:
        content: any JSON value.
        role: who says it; None: `content` is an object that tells, by its `role` or its `type`.
        id: UUID; a message of this id that the thread has already is not appended again. None: a new one.
    """

    content: Any
    role: str | None = None
    id: str | None = None

    def wire(self) -> dict[str, Any]:
        """As the server reads it. It has an id in any case, so that nothing is appended twice."""
        said = {} if self.role is None else {"role": self.role}
        return {"id": self.id or str(uuid.uuid4()), **said, "content": self.content}


Item = Mapping[str, Any] | NewMessage | Dumps
"""What can be appended. An object is stored whole, as the content of a message."""


def new_messages(items: Item | Iterable[Item]) -> list[NewMessage]:
    """The items as messages.

    Raises:
        TypeError: one is neither an object nor a `NewMessage`: a text alone does not tell who says it.
    """
    if isinstance(items, (Mapping, NewMessage, Dumps)):
        items = (items,)
    if isinstance(items, (str, bytes)):
        raise TypeError("a text does not tell who says it: use `say`, or a NewMessage with a role")
    return [_new_message(item) for item in items]


def in_parts(messages: Iterable[NewMessage], max_bytes: int) -> list[list[NewMessage]]:
    """The messages, in order, in as few requests as it takes.

    Raises:
        TooLarge: one alone is larger than a request may be.
        TypeError, ValueError: one is no JSON.
    """
    parts: list[list[NewMessage]] = []
    room = 0
    for message in messages:
        size = len(json.dumps(message.wire(), ensure_ascii=False, allow_nan=False).encode()) + 2
        if size > max_bytes - _ENVELOPE_BYTES:
            raise too_large(f"A message of {size} bytes does not go into a request of {max_bytes}.")
        if not parts or size > room or len(parts[-1]) == APPEND_MESSAGES:
            parts.append([])
            room = max_bytes - _ENVELOPE_BYTES
        parts[-1].append(message)
        room -= size
    return parts


def too_large(detail: str) -> TooLarge:
    """The refusal of what was not even sent."""
    return TooLarge(413, {"code": Code.TOO_LARGE, "detail": detail, "retryable": False})


def _new_message(item: Any) -> NewMessage:
    if isinstance(item, NewMessage):
        return item
    if isinstance(item, Message):
        return NewMessage(item.content, role=item.role)
    if isinstance(item, Mapping):
        return NewMessage(dict(item))
    if isinstance(item, Dumps):
        return NewMessage(item.model_dump(mode="json", exclude_unset=True))
    raise TypeError(f"a message is an object or a NewMessage, not {type(item).__name__}")
