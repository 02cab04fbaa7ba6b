"""Answers become resources."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sessioncast.answer import Answer
from sessioncast.errors import ProtocolError

M = TypeVar("M", bound=BaseModel)


def decoded(kind: type[M], answer: Answer) -> M:
    """The resource in an answer.

    Raises:
        ProtocolError: the answer holds no such resource.
    """
    try:
        return kind.model_validate_json(answer.body)
    except ValidationError as error:
        raise ProtocolError(answer.url, _why(kind, error)) from error


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
