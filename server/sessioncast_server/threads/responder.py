"""Who answers in a chat: any function that gets the context and the message and yields text."""

import importlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_TEXT_PARTS = ("text", "input_text", "output_text")


@dataclass(frozen=True, slots=True)
class Said:
    """A message of a thread.

    Attributes:
        content: any JSON value.
    """

    role: str
    content: Any
    seq: int
    at: datetime

    @property
    def text(self) -> str:
        """What was said, as text: `content` itself, or its parts that are text, line by line."""
        return _text(self.content)


@dataclass(frozen=True, slots=True)
class Context:
    """What a responder knows.

    Attributes:
        said: the newest messages before the one that is to be answered, oldest first.
        available: False where the thread could not be read: then nothing is known of it.
    """

    project: str
    user: str
    thread: str
    said: Sequence[Said] = ()
    available: bool = True


Answering = str | Iterable[str] | AsyncIterator[str] | Awaitable[str]
Responder = Callable[[Context, str], Answering]
"""Gives the answer whole or in pieces; generators that are not async run in a thread."""


class ResponderError(Exception):
    """A responder failed, gave something else than text, or too much of it."""


def load_responder(name: str) -> Responder:
    """The responder that a setting names, as `module:function`; the working folder is looked into first.

    Raises:
        ValueError: there is no such function.
    """
    module_name, _, function_name = name.partition(":")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
        for part in function_name.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise ValueError(f"cannot be loaded: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ValueError(f"{function_name} is no function")  # noqa: TRY004  of the name, like the others
    responder: Responder = found
    return responder


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        if content.get("type") in _TEXT_PARTS:
            return _text(content.get("text"))
        return _text(content.get("content"))
    if isinstance(content, list):
        return "\n".join(text for part in content if (text := _text(part)))
    return ""
