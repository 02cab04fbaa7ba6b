"""Responders of every kind, run as a node runs them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from sessioncast_server.threads.responder import Context, Responder, ResponderError, Said
from sessioncast_server.threads.responding import Responding
from support.waiting import DEADLINE_S, until

CONTEXT = Context("p", "ann", "t", (Said("user", "before", 1, datetime(2026, 1, 2, tzinfo=UTC)),))
SECRET = "what was said"


def whole(context: Context, message: str) -> str:
    """A text."""
    return f"{message}, {context.said[0].text}"


def listed(context: Context, message: str) -> list[str]:
    """A list of texts."""
    return [message, ", ", context.said[0].text]


def pieces(context: Context, message: str) -> Iterator[str]:
    """A generator."""
    yield from listed(context, message)


async def awaited(context: Context, message: str) -> str:
    """A coroutine."""
    await asyncio.sleep(0)
    return whole(context, message)


async def async_pieces(context: Context, message: str) -> AsyncIterator[str]:
    """An asynchronous generator."""
    for piece in listed(context, message):
        await asyncio.sleep(0)
        yield piece


async def late_pieces(context: Context, message: str) -> AsyncIterator[str]:
    """A coroutine that gives an asynchronous generator."""
    await asyncio.sleep(0)
    return async_pieces(context, message)


def later(context: Context, message: str) -> Awaitable[str]:
    """A function that gives a coroutine."""
    return awaited(context, message)


def later_pieces(context: Context, message: str) -> AsyncIterator[str]:
    """A function that gives an asynchronous generator."""
    return async_pieces(context, message)


class Bot:
    """An object that is called."""

    def __call__(self, context: Context, message: str) -> Iterator[str]:
        return pieces(context, message)

    async def method(self, context: Context, message: str) -> str:
        """A method."""
        return await awaited(context, message)


def responding(responder: Any, **limits: Any) -> Responding:
    """What runs it, with time."""
    return Responding(responder, **{"deadline_s": DEADLINE_S, "max_bytes": 1 << 20, "threads": 4} | limits)


async def answered(responder: Any, message: str = "hi", **limits: Any) -> tuple[str, list[str]]:
    """The answer, and the pieces that were heard: numbered from 0, none empty, together the answer."""
    heard: list[tuple[int, str]] = []
    answer = await responding(responder, **limits).answer(CONTEXT, message, lambda *piece: heard.append(piece))
    assert [index for index, _ in heard] == list(range(len(heard)))
    assert all(piece for _, piece in heard)
    assert "".join(piece for _, piece in heard) == answer
    return answer, [piece for _, piece in heard]


async def failed(responder: Any, **limits: Any) -> str:
    """How it failed."""
    with pytest.raises(ResponderError) as caught:
        await answered(responder, SECRET, **limits)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None or not isinstance(caught.value.__cause__, ValueError)
    return str(caught.value)


@pytest.mark.parametrize(
    "responder",
    [
        whole, listed, pieces, awaited, async_pieces, late_pieces, later, later_pieces, Bot(), Bot().method,
        partial(pieces), partial(awaited), partial(async_pieces),
    ],
)  # fmt: skip
async def test_every_kind_answers(responder: Responder) -> None:
    """Texts, lists, generators and coroutines, async or not, partials, objects: the same answer, heard as it comes."""
    answer, heard = await answered(responder)
    assert answer == "hi, before"
    assert 1 <= len(heard) <= 3


async def test_who_is_not_async_is_not_on_the_loop() -> None:
    """A responder that blocks runs in a thread of its own, and so do its generator's steps; async ones on the loop."""
    seen: list[int] = []

    def blocking(_: Context, message: str) -> Iterator[str]:
        seen.append(threading.get_ident())
        yield message
        seen.append(threading.get_ident())

    async def on_loop(_: Context, message: str) -> str:
        seen.append(threading.get_ident())
        return message

    await answered(blocking)
    await answered(on_loop)
    here = threading.get_ident()
    assert here not in seen[:2]
    assert seen[2] == here


async def test_pieces_are_heard_before_the_end() -> None:
    """A piece is heard while the next one is still being made."""
    go, heard = threading.Event(), asyncio.Event()

    def slow(_: Context, message: str) -> Iterator[str]:
        yield message
        assert go.wait(DEADLINE_S)
        yield "!"

    answer = asyncio.create_task(responding(slow).answer(CONTEXT, "hi", lambda *_: heard.set()))
    await heard.wait()
    assert not answer.done()
    go.set()
    assert await answer == "hi!"


async def test_a_fast_one_loses_nothing() -> None:
    """Thousands of pieces, far faster than they are taken, all come, in order; many of them are told of together."""
    answer, heard = await answered(lambda context, message: (f"{number} " for number in range(5000)))
    assert answer == "".join(f"{number} " for number in range(5000))
    assert len(heard) < 5000


async def test_no_text_is_an_answer() -> None:
    """Who gives nothing, or empty pieces, has answered with an empty text, of which no piece is heard."""
    for responder in (lambda *_: "", lambda *_: [], lambda *_: ["", ""], lambda *_: iter(())):
        assert await answered(responder) == ("", [])
    assert (await answered(lambda *_: ["", "a", "", "b"]))[0] == "ab"


async def test_halves_of_characters_become_signs() -> None:
    """Half of a surrogate pair, which no JSON can hold, becomes U+FFFD; both halves in one piece are a character."""
    answer, _ = await answered(lambda *_: ["a\ud800b", "\udc00", "\ud83d\ude00", "ä\0"])
    assert answer == "a\ufffdb\ufffd😀ä\0"


async def test_what_is_no_text_is_refused() -> None:
    """Anything else than texts, whole or as a piece, is a failure that names its type."""

    async def number(*_: Any) -> Any:
        return 1

    for responder, kind in (
        (lambda *_: None, "NoneType"), (lambda *_: 7, "int"), (lambda *_: ["a", None], "NoneType"),
        (lambda *_: b"ab", "int"), (lambda *_: [["a"]], "list"), (number, "int"),
    ):  # fmt: skip
        assert await failed(responder) == f"gave {kind}, not text"


async def test_a_failure_names_its_place_and_not_what_was_said() -> None:
    """What a responder raises becomes its type and its place; its text, which may be what was said, is lost."""

    def raising(_: Context, message: str) -> str:
        raise ValueError(message)

    def midway(_: Context, message: str) -> Iterator[str]:
        yield "a"
        raise KeyError(message)

    async def async_raising(_: Context, message: str) -> str:
        raise ValueError(message)

    async def async_midway(_: Context, message: str) -> AsyncIterator[str]:
        yield "a"
        raise OSError(message)

    for responder, kind in (
        (raising, "ValueError"), (midway, "KeyError"), (async_raising, "ValueError"), (async_midway, "OSError"),
    ):  # fmt: skip
        told = await failed(responder)
        assert told.startswith(f"raised {kind} at test_responding.py:")
        assert told.rpartition(":")[2].isdecimal()


@pytest.mark.parametrize("error", [StopIteration, GeneratorExit, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
async def test_nothing_that_is_raised_ends_the_node(error: type[BaseException]) -> None:
    """Exits, interrupts and cancellations that a responder raises are failures like others."""

    def raising(*_: Any) -> str:
        raise error

    async def async_raising(*_: Any) -> str:
        raise error

    for responder in (raising, async_raising):
        assert error.__name__ in await failed(responder) or error is StopIteration
    assert await answered(whole) == ("hi, before", ["hi, before"])


async def test_too_much_is_refused() -> None:
    """More bytes than an answer may have are refused, in UTF-8 and all pieces together; as many as it may are not."""
    assert (await answered(lambda *_: "x" * 1024, max_bytes=1024))[0] == "x" * 1024
    assert (await answered(lambda *_: "ä" * 512, max_bytes=1024))[0] == "ä" * 512
    for responder in (lambda *_: "x" * 1025, lambda *_: "ä" * 513, lambda *_: iter(lambda: "x" * 100, None)):
        assert await failed(responder, max_bytes=1024) == "gave more than 1024 bytes"


async def test_too_late_is_refused() -> None:
    """Over the deadline it is a failure, async or not; what an async one had open is closed."""
    closed: list[str] = []
    release = threading.Event()

    async def waiting(*_: Any) -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            closed.append("async")

    def blocking(*_: Any) -> str:
        release.wait(DEADLINE_S)
        return "late"

    try:
        for responder in (waiting, blocking):
            assert await failed(responder, deadline_s=0.05) == "took longer than 0.05 s, or waited too long itself"
    finally:
        release.set()
    assert closed == ["async"]


async def test_one_that_will_not_be_cancelled_is_left_alone() -> None:
    """Over the deadline it is a failure also where cancellation is caught; what it says afterwards is not heard."""
    release, over, heard = asyncio.Event(), asyncio.Event(), []

    async def stubborn(*_: Any) -> AsyncIterator[str]:
        yield "a"
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()
        yield "late"
        over.set()

    with pytest.raises(ResponderError, match=r"^took longer"):
        await responding(stubborn, deadline_s=0.05).answer(CONTEXT, "hi", lambda *piece: heard.append(piece))
    release.set()
    await over.wait()
    assert "late" not in [text for _, text in heard]


async def test_one_that_never_waits_keeps_nobody() -> None:
    """Who yields for ever without waiting is out of time like others, and meanwhile others are answered."""

    async def endless(*_: Any) -> AsyncIterator[str]:
        while True:
            yield ""

    for responder in (endless, lambda *_: iter(lambda: "", None)):
        other = asyncio.create_task(answered(awaited))
        assert await failed(responder, deadline_s=0.3) == "took longer than 0.3 s, or waited too long itself"
        assert (await other)[0] == "hi, before"


async def test_who_is_not_waited_for_is_cancelled() -> None:
    """When whoever wanted the answer is cancelled, the responder is, too."""
    begun, closed = asyncio.Event(), asyncio.Event()

    async def waiting(*_: Any) -> AsyncIterator[str]:
        try:
            begun.set()
            yield "a"
            await asyncio.Event().wait()
        finally:
            closed.set()

    task = asyncio.create_task(answered(waiting))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await closed.wait()


async def test_threads_are_bounded() -> None:
    """No more run at once than may; the next begins when one is done; when all are lost nobody waits."""
    running, most, lock, release = 0, 0, threading.Lock(), threading.Event()

    def counted(_: Context, message: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        assert release.wait(DEADLINE_S)
        with lock:
            running -= 1
        return message

    node = responding(counted, threads=2)
    tasks = [asyncio.create_task(node.answer(CONTEXT, str(number), lambda *_: None)) for number in range(5)]
    await until(lambda: running == 2, "two at work")
    release.set()
    assert await asyncio.gather(*tasks) == list("01234")
    assert most == 2


async def test_lost_threads_are_not_waited_for() -> None:
    """Those that never came back keep their places; when none is left it is said at once; when they do, it goes on."""
    release, ended = threading.Event(), asyncio.Event()
    counts: list[int] = []

    def stuck(_: Context, message: str) -> str:
        if message == SECRET:
            release.wait(DEADLINE_S)
        return message

    def count(number: int) -> None:
        counts.append(number)
        if number == 0:
            ended.set()

    node = responding(stuck, threads=1, deadline_s=0.05, at_work=count)
    told = []
    for _ in range(2):
        with pytest.raises(ResponderError) as caught:
            await node.answer(CONTEXT, SECRET, lambda *_: None)
        told.append(str(caught.value))
    assert told == ["took longer than 0.05 s, or waited too long itself", "has no thread left: none of them comes back"]
    ended.clear()
    release.set()
    await ended.wait()
    patient = responding(stuck, threads=1)
    assert await patient.answer(CONTEXT, "hi", lambda *_: None) == "hi"
    assert counts == [1, 0]
