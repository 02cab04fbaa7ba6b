"""Who answers in a chat: any function that gets the context and the message and yields text."""

import asyncio
import importlib
import inspect
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_TEXT_PARTS = ("text", "input_text", "output_text")
_END = object()


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


class Responding:
    """Runs a responder.

    Args:
        deadline_s: how long an answer may take.
        max_bytes: how large it may be, in UTF-8.
        threads: answers of responders that are not async, at once; others wait.
    """

    def __init__(self, responder: Responder, *, deadline_s: float, max_bytes: int, threads: int) -> None:
        self._responder = responder
        self._deadline_s = deadline_s
        self._max_bytes = max_bytes
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None

    async def answer(self, context: Context, message: str, hear: Callable[[int, str], None]) -> str:
        """The answer.

        Args:
            hear: called with the number and the text of each piece, as it comes.

        Raises:
            ResponderError: there is none.
        """
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._collect(context, message, hear)
        except ResponderError:
            raise
        except TimeoutError as error:
            raise ResponderError(f"took longer than {self._deadline_s:g} s, or waited too long itself") from error
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise  # ours, not one that a responder let out
            # Whatever it is, the node goes on. Neither its text nor its traceback: both may hold what was said.
            raise ResponderError(f"raised {type(error).__name__}{_place(error)}") from None

    async def _collect(self, context: Context, message: str, hear: Callable[[int, str], None]) -> str:
        parts: list[str] = []
        room = self._max_bytes
        async with aclosing(self._pieces(context, message)) as pieces:
            async for given in pieces:
                if not isinstance(given, str):
                    raise ResponderError(f"gave {type(given).__name__}, not text")
                piece = _storable(given)
                room -= len(piece.encode())
                if room < 0:
                    raise ResponderError(f"gave more than {self._max_bytes} bytes")
                if piece:
                    hear(len(parts), piece)
                    parts.append(piece)
        return "".join(parts)

    def close(self) -> None:
        """Stop; threads that still work are left to themselves."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _pieces(self, context: Context, message: str) -> AsyncGenerator[Any, None]:
        responder = self._responder
        if inspect.iscoroutinefunction(responder) or inspect.isasyncgenfunction(responder):
            answer: Any = responder(context, message)
        else:
            answer = await self._in_thread(responder, context, message)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, str):
            yield answer
        elif isinstance(answer, AsyncIterator):
            async for piece in answer:
                yield piece
        elif isinstance(answer, Iterable):
            pieces: Iterator[Any] = iter(answer)
            while (piece := await self._in_thread(next, pieces, _END)) is not _END:
                yield piece
        else:
            raise ResponderError(f"gave {type(answer).__name__}, not text")

    async def _in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="responder")
        return await asyncio.get_running_loop().run_in_executor(self._pool, _called, call, *args)


def _called(call: Callable[..., Any], *args: Any) -> Any:
    try:
        return call(*args)
    except StopIteration as error:  # which no future can hold
        raise ResponderError(f"raised StopIteration{_place(error)}") from None


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


def _storable(text: str) -> str:
    """What is no character (half of a surrogate pair) becomes U+FFFD: no JSON can hold it."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _place(error: BaseException) -> str:
    """Where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
