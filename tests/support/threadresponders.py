"""A responder of a program's own: a copy of this file stands in the folder that a node works in, or it is named."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

_PATIENCE_S = 60


async def respond(context: Any, message: str) -> AsyncIterator[Any]:
    """Does what the first word of the message says."""
    match message.split(maxsplit=1)[0]:
        case "know":
            said = [[one.role, one.content, one.seq, one.at.isoformat()] for one in context.said]
            yield json.dumps([context.project, context.user, context.thread, said, context.available])
        case "pieces":
            for piece in ("one ", "", "two ", "three"):
                yield piece
        case "halves":
            yield "\ud83d\ude00 \ud800"
        case "nothing":
            yield ""
        case "raise":
            yield "a piece of it, "
            raise ValueError(message)
        case "file" if not _there(message.split()[1]):
            raise FileNotFoundError(message)
        case "hold":
            yield "held"
            await asyncio.to_thread(_wait_for, message.split()[1])
        case "number":
            yield 7
        case "much":
            while True:
                yield message
        case "wait":
            yield "begun"
            await asyncio.Event().wait()
        case _:
            yield f"heard {message}"


def _wait_for(name: str) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not _there(name) and time.monotonic() < end:
        time.sleep(0.005)


def _there(name: str) -> bool:
    return Path(name).exists()
