"""Answers become resources."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sessioncast.answer import Answer
from sessioncast.errors import ProtocolError
from sessioncast_shared.resources import Resource

M = TypeVar("M", bound=BaseModel)


def decoded(kind: type[M], answer: Answer) -> M:
    """The resource in an answer; it, and those in it, have the answer's position.

    Raises:
        ProtocolError: the answer holds no such resource.
    """
    try:
        resource = kind.model_validate_json(answer.body)
    except ValidationError as error:
        raise ProtocolError(answer.url, _why(kind, error)) from error
    if answer.position is not None:
        stamp(resource, answer.position)
    return resource


def stamp(value: BaseModel, position: str) -> None:
    """Tell a resource, and those in it, the position they were told at."""
    for part in list(value.__dict__.values()):
        parts = part if isinstance(part, list) else part.values() if isinstance(part, dict) else (part,)
        for inner in parts:
            if isinstance(inner, BaseModel):
                stamp(inner, position)
    if isinstance(value, Resource):
        # It is frozen; this is where a cached property keeps its value.
        value.__dict__["position"] = position


def validated(kind: type[M], value: Any, url: str) -> M:
    """The resource in a JSON value that came from `url`.

    Raises:
        ProtocolError: it holds no such resource.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise ProtocolError(url, _why(kind, error)) from error


def _why(kind: type[BaseModel], error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])) or "the whole"
    return f"not a {kind.__name__}: {where}: {first['msg']}"
