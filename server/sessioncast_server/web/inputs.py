"""From the bytes of a request to validated models; all that can be wrong with them is a problem."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from sessioncast_server.problems import Problem, invalid
from sessioncast_server.web import strictjson
from sessioncast_shared.codes import Code

_MAX_ERRORS = 20
_MAX_TEXT = 200
_MAX_PARAMETERS = 1000
_SINGLE = {
    name.lower().encode(): name
    for name in ("Authorization", "Idempotency-Key", "Last-Event-ID", "X-Project", "X-Session-Fence", "X-User")
}
_LISTS = frozenset({b"accept", b"if-match", b"if-none-match"})
_THREAD_BYTES = 65536
"""Larger bodies are parsed in a thread, so that the loop gets its turns meanwhile."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a request body; see the settings of the same names."""

    body_max_bytes: int = 1 << 20
    body_deadline_s: float = 30.0
    json_max_depth: int = 64


def check_content_type(headers: Headers) -> None:
    """Unsafe requests say that they are JSON, also with an empty body: no HTML form can say so across origins.

    Raises:
        Problem: 415.
    """
    types = headers.getlist("content-type")
    if len(types) != 1 or not _is_json(types[0]):
        raise Problem(415, Code.UNSUPPORTED_MEDIA_TYPE, "The request needs Content-Type: application/json in UTF-8.")
    if any(encoding.strip().lower() != "identity" for encoding in headers.getlist("content-encoding")):
        raise Problem(415, Code.UNSUPPORTED_MEDIA_TYPE, "Encoded request bodies are not understood.")


def _is_json(content_type: str) -> bool:
    media_type, *parameters = content_type.split(";")
    if media_type.strip().lower() != "application/json":
        return False
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8"):
            return False
    return True


def one_of_each(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers with those that are lists joined to one line each (RFC 9110, section 5.3).

    Raises:
        Problem: 400 `bad_request`, when one that has a single value came twice: which was meant, nobody can know.
    """
    met: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in _SINGLE and name in met:
            raise Problem(400, Code.BAD_REQUEST, f"The header {_SINGLE[name]} was sent more than once.")
        if name in _SINGLE or name in _LISTS:
            met.setdefault(name, []).append(value)
    joined = [(name, b", ".join(values)) for name, values in met.items() if len(values) > 1]
    if not joined:
        return headers
    again = {name for name, _ in joined}
    return [(name, value) for name, value in headers if name not in again] + joined


def fence_of(headers: Headers) -> int | None:
    """The holder's fence, None where none was sent.

    Raises:
        Problem: 422 for what is no whole number.
    """
    fence = headers.get("x-session-fence")
    if fence is not None and not (fence.isascii() and fence.isdecimal() and len(fence) < 19):
        raise invalid("X-Session-Fence", "must be a whole number")
    return None if fence is None else int(fence)


async def read_body(headers: Headers, receive: Receive, limits: Limits) -> bytes:
    """The whole body.

    Raises:
        Problem: 413, before reading if Content-Length says so, and while reading; 408 when it takes too long.
        ClientDisconnect: nobody is there to be answered.
    """
    length = headers.get("content-length", "0")
    if length.isdecimal() and (len(length) > 18 or int(length) > limits.body_max_bytes):
        raise _too_large(limits)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_deadline_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk: bytes = message.get("body", b"")
                size += len(chunk)
                if size > limits.body_max_bytes:
                    raise _too_large(limits)
                if not message.get("more_body", False):
                    return b"".join([*chunks, chunk]) if chunks else chunk
                chunks.append(chunk)
    except TimeoutError:
        raise Problem(408, Code.BAD_REQUEST, "The request body took too long to arrive.") from None


async def parse_body(raw: bytes, model: type[BaseModel] | None, limits: Limits) -> BaseModel | None:
    """The body as the model; an empty one counts as `{}`. Without a model nothing may stand in it.

    Raises:
        Problem: 400 for what is no JSON of ours, 422 for what the model does not accept.
    """
    if len(raw) > _THREAD_BYTES:
        return await asyncio.to_thread(_parse, raw, model, limits.json_max_depth)
    return _parse(raw, model, limits.json_max_depth)


def _parse(raw: bytes, model: type[BaseModel] | None, max_depth: int) -> BaseModel | None:
    value = strictjson.loads(raw, max_depth=max_depth) if raw else {}
    if not isinstance(value, dict):
        raise invalid("body", "Input should be an object")
    if model is not None:
        return validated(model, value)
    if value:
        raise invalid(shortened(next(iter(value))), "Extra inputs are not permitted")
    return None


def parse_query(query: bytes, model: type[BaseModel] | None, lists: frozenset[str]) -> BaseModel | None:
    """The query parameters as the model; only `lists` may be repeated.

    Raises:
        Problem: 400 for what is not UTF-8, 422 for unknown, repeated and unacceptable parameters.
    """
    values: dict[str, Any] = {}
    for name, value in _pairs(query):
        if "\0" in value:
            raise invalid(shortened(name), "Input should not contain NUL")
        if name in lists:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise invalid(shortened(name), "Input should be given once")
        else:
            values[name] = value
    if model is not None:
        return validated(model, values)
    if values:
        raise invalid(shortened(next(iter(values))), "Extra inputs are not permitted")
    return None


def list_parameters(model: type[BaseModel] | None) -> frozenset[str]:
    """Names of the model's fields that take a parameter more than once."""
    if model is None:
        return frozenset()
    return frozenset(field.alias or name for name, field in model.model_fields.items() if _is_list(field.annotation))


def validated(model: type[BaseModel], value: Mapping[str, Any], *, whole: str = "body") -> BaseModel:
    """The value as the model; `whole` names what is wrong as a whole.

    Raises:
        Problem: 422 `invalid` with `errors`, naming the first field in `detail`.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        mistakes = [
            {
                "field": shortened(_field(mistake, value)) or whole,
                "message": shortened(mistake["msg"].removeprefix("Value error, ")),
            }
            for mistake in error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_ERRORS]
        ]
        # Of a union each branch says what it misses; the one that got further into the value was meant.
        fields = [mistake["field"] for mistake in mistakes]
        mistakes = [it for it in mistakes if not any(field.startswith(f"{it['field']}.") for field in fields)]
        detail = f"{mistakes[0]['field']}: {mistakes[0]['message']}"
        raise Problem(422, Code.INVALID, detail, errors=mistakes) from None


def _field(mistake: ErrorDetails, value: Any) -> str:
    """Where the mistake is in the value; the library's location names branches of unions too."""
    *path, last = mistake["loc"] or ("",)
    steps = []
    for step in (*path, last):
        in_list = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if in_list or (isinstance(value, Mapping) and step in value):
            value = value[step]
        elif not (mistake["type"] == "missing" and step is last):
            continue
        steps.append(str(step))
    return ".".join(steps)


def shortened(text: str) -> str:
    """A text of the caller's that an answer repeats."""
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"


def _pairs(query: bytes) -> list[tuple[str, str]]:
    if not query:
        return []
    try:
        return parse_qsl(query.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except UnicodeDecodeError:
        raise Problem(400, Code.BAD_UNICODE, "The query is not UTF-8.") from None
    except ValueError:
        raise invalid("query", f"Input should have at most {_MAX_PARAMETERS} parameters") from None


def _is_list(annotation: Any) -> bool:
    kinds = (list, tuple, set, frozenset)
    return get_origin(annotation) in kinds or any(get_origin(part) in kinds for part in get_args(annotation))


def _too_large(limits: Limits) -> Problem:
    return Problem(413, Code.TOO_LARGE, f"The body is larger than {limits.body_max_bytes} bytes.")
