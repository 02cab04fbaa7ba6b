"""What a double of a server was asked, and what it is to answer."""

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from pydantic import BaseModel

from sessioncast.answer import Answer


@dataclass(frozen=True, slots=True)
class Asked:
    """A request.

    Attributes:
        body: its JSON; None where there is none.
    """

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        document: its JSON, or a resource.
    """

    document: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self, url: str, *, position: str | None, condition: str | None) -> Answer:
        """As it travels: with an `ETag`, and as 304 where the request's `If-None-Match` has it."""
        body = b"" if self.document is None else json.dumps(_plain(self.document)).encode()
        headers = {} if position is None else {"x-position": position}
        headers |= {"x-push": "on", "etag": f'"{sha256(body).hexdigest()[:16]}"'}
        headers |= {name.lower(): value for name, value in self.headers.items()}
        if self.status == 200 and condition == headers["etag"]:
            return Answer(url, 304, headers, b"")
        return Answer(url, self.status, headers, body)


Given = Any
"""A document, a resource, a `Reply`, or an exception, which is raised."""

Script = Given | Callable[[Asked], Given | Awaitable[Given]]


async def reply_of(script: Script, asked: Asked) -> Reply:
    """What a script answers; an exception is raised."""
    given = script
    if callable(given) and not isinstance(given, type):
        given = given(asked)
    if inspect.isawaitable(given):
        given = await given
    if isinstance(given, BaseException):
        raise given
    return given if isinstance(given, Reply) else Reply(given, 204 if given is None else 200)


def problem(status: int, code: str, detail: str, **fields: Any) -> Reply:
    """A refusal."""
    return Reply({"status": status, "code": code, "detail": detail, "title": detail, **fields}, status)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
