"""What `exec` asks on the terminal before it replaces a session that still works."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from sessioncast.cli.board import model_name
from sessioncast.cli.connect import explain, say
from sessioncast.confirmation import ExistingSession, ModelChangeRequiresConfirmation, SessionChanged
from sessioncast.errors import SessioncastError
from sessioncast_shared import texts
from sessioncast_shared.filters import is_uuid

_STDIN, _STDERR = 0, 2
_KEPT = 16  # of what is typed: no answer is longer


def can_ask() -> bool:
    """Whether there is a person at both ends: who reads the question and who types the answer."""
    return os.isatty(_STDIN) and os.isatty(_STDERR)


async def ask_to_replace(refusal: ModelChangeRequiresConfirmation) -> bool:
    """Whether the person says yes. The end of the input is a no; an export is made on the way if wanted."""
    if isinstance(refusal, SessionChanged):
        say(harmless(refusal.detail))
    _show(refusal.existing)
    while True:
        _write(f"{texts.CONFIRM}\n[y: replace it, N: leave it, e: export it to {_file(refusal.existing)} first] ")
        try:
            answer = await read_line(_STDIN)
        except asyncio.CancelledError:
            _write("\n")  # whatever comes next begins in a line of its own
            raise
        match None if answer is None else answer.strip().lower():
            case "y" | "yes":
                return True
            case "" | "n" | "no":
                return False
            case "e" | "export":
                await _export(refusal)
            case None:
                _write("\n")
                return False


async def read_line(fd: int) -> str | None:
    """A line that is typed, None when the input ends without one. Nothing behind the line is read.

    Byte by byte, as it gets readable: the rest belongs to the command, and no thread is left waiting in a read when
    this is cancelled.
    """
    loop = asyncio.get_running_loop()
    typed = bytearray()
    finished: asyncio.Future[bool] = loop.create_future()

    def readable() -> None:
        try:
            byte = os.read(fd, 1)
        except OSError:
            byte = b""  # the terminal is gone: nobody will say yes
        if byte and byte not in b"\r\n":
            typed.extend(byte[: _KEPT - len(typed)])
            return
        # At once, not when the waiting task runs: by then another byte may have been read.
        loop.remove_reader(fd)
        if not finished.done():
            finished.set_result(bool(byte))

    loop.add_reader(fd, readable)
    try:
        complete = await finished
    finally:
        loop.remove_reader(fd)
    return typed.decode(errors="replace") if complete else None


def _show(existing: ExistingSession) -> None:
    say(texts.LOSS)
    facts = {
        "session": existing.id,
        "model": model_name(existing.model),
        "user": existing.user,
        "status": str(existing.status),
        "last activity": existing.last_activity_at.astimezone().isoformat(" ", "seconds"),
    }
    for name, fact in facts.items():
        _write(f"  {name:<14} {harmless(fact)}\n")


async def _export(refusal: ModelChangeRequiresConfirmation) -> None:
    if not is_uuid(refusal.existing.id):
        say("not exported: the session's id is no name for a file")
        return
    try:
        document = await refusal.export()
        save(Path(_file(refusal.existing)), document)
    except OSError as error:
        say(f"not exported: {error}")
    except SessioncastError as error:
        say(f"not exported: {explain(error)}")
    else:
        say(f"exported to {_file(refusal.existing)}")


def save(path: Path, document: dict[str, Any]) -> None:
    """Write an export. One that was cut off does not look like one; raises OSError where it cannot be written."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(document))
    part.replace(path)


def _file(existing: ExistingSession) -> str:
    return f"session-{harmless(existing.id)}.json"


def harmless(text: str) -> str:
    """Names come from others; what moves a cursor or hides text is not passed on to the terminal."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _write(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)  # noqa: T201  a command's own voice
