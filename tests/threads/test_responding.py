"""Responders of every kind, run as a node runs them."""

import asyncio
import re
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sessioncast_server.threads.responder import Context, Responder, ResponderError, Said, load_responder
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


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ({"type": "input_text", "text": "a"}, "a"),
        ({"role": "user", "content": "b"}, "b"),
        ({"content": [{"type": "output_text", "text": "c"}, {"type": "image"}, {"type": "text", "text": "d"}]}, "c\nd"),
        ([{"text": "no type"}, "e"], "e"),
        ({"type": "text"}, ""),
        ({"type": "reasoning", "summary": []}, ""),
        (None, ""),
        (7, ""),
    ],
)
def test_what_was_said_has_a_text(content: Any, text: str) -> None:
    """A text as it is, parts that are text line by line, everything else nothing."""
    assert Said("user", content, 1, datetime(2026, 1, 2, tzinfo=UTC)).text == text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Writes a module into the working folder; its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    names: list[str] = []

    def write(source: str) -> str:
        names.append(f"answers_{tmp_path.name}_{len(names)}".replace("-", "_"))
        (tmp_path / f"{names[-1]}.py").write_text(source)
        return names[-1]

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_a_responder_is_found_in_the_working_folder(folder: Callable[[str], str]) -> None:
    """`module:function`, also a member of something in it; the working folder is looked into first."""
    name = folder(
        "def f(context, message):\n    return 'f'\nclass Bots:\n    def g(context, message):\n        return 'g'\n"
    )
    assert load_responder(f"{name}:f")(CONTEXT, "x") == "f"
    assert load_responder(f"{name}:Bots.g")(CONTEXT, "x") == "g"
    assert sys.path[0] == str(Path.cwd())
    assert load_responder("sessioncast_server.threads.recall:respond").__module__.endswith(".recall")


def test_what_cannot_be_loaded_says_why(folder: Callable[[str], str]) -> None:
    """A module or function that is not there, cannot be imported, or is no function: a text that says which it is."""
    broken, text = folder("raise RuntimeError('no key')"), folder("f = 'text'\ndef broken(:\n")
    plain = folder("f = 'text'")
    for name, reason in (
        ("no_such_module:f", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
        (f"{plain}:g", f"cannot be loaded: AttributeError: module '{plain}' has no attribute 'g'"),
        (f"{plain}:f", "f is no function"),
        (f"{broken}:f", "cannot be loaded: RuntimeError: no key"),
        (f"{text}:f", "cannot be loaded: SyntaxError: "),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(reason)}"):
            load_responder(name)
