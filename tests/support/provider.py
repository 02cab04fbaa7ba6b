"""The fake provider, called as programs call a provider's command line: a process with a bound on its time."""

import asyncio
import fcntl
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sessioncast import ResumeFailed, Use
from support import fakeprovider

_REASONS = {"in_use": "locked", "not_found": "not_found", "corrupted": "corrupted", "hangs": "timeout"}
"""What is told to the server about a resume, by what the provider says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How the provider behaves; each is an option of `support.fakeprovider`."""

    seed: str = "0"
    lock_s: float = 2.0
    forgets: float = 0.0
    corrupts: float = 0.0
    hangs: float = 0.0
    keep_id: bool = False
    cold: bool = False
    pace: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is asked of the provider, in tokens and turns."""

    project_tokens: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    turns: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What a use came to.

    Attributes:
        seconds: of the provider's own time, before its pace.
        context: tokens that the session knows now.
    """

    session_id: str
    tokens: int
    cached_tokens: int
    turns: int
    cost_usd: float
    seconds: float
    context: int


@dataclass(frozen=True, slots=True)
class Call:
    """What the provider's log says of a call.

    Attributes:
        outcome: `done`, `in_use`, `not_found`, `corrupted` or `hangs`; one that was ended by us hung.
        session_id: the id that it gave out.
        fate: of that id's session: `kept`, `forgotten` or `corrupted`.
        tokens: 0 unless it was done.
    """

    command: str
    resume: str | None
    outcome: str
    session_id: str | None
    fate: str | None
    tokens: int

    @property
    def reason(self) -> str:
        """What the server is to be told of a failed resume."""
        return _REASONS[self.outcome]


class RefusedError(Exception):
    """The provider would not begin afresh, or not in time; `error` as in `fakeprovider.STATUS`."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


class Provider:
    """Sessions of a provider in a folder.

    Args:
        timeout_s: after it a call is ended and counts as one that hung.
    """

    def __init__(self, state: Path, habits: Habits = Habits(), *, timeout_s: float = 20.0) -> None:
        self._state = state
        self._timeout_s = timeout_s
        settings = asdict(habits)
        flags = [f"--{name.replace('_', '-')}" for name in ("keep_id", "cold") if settings.pop(name)]
        self._habits = flags + _options(settings)

    async def run(self, work: Work, *, resume: str | None = None, session_id: str | None = None) -> Answer:
        """Begin afresh, with an id if one is given, or resume.

        Raises:
            ResumeFailed: it did not resume; nothing was used.
            RefusedError: it did not begin.
        """
        ids = {"resume": resume, "session-id": session_id}
        return await self._call("run", resume, _options({**asdict(work), **ids}))

    async def compact(self, resume: str) -> Answer:
        """Shorten what a session knows.

        Raises:
            ResumeFailed: as with `run`.
        """
        return await self._call("compact", resume, _options({"resume": resume}))

    def update(self, work: Work) -> Callable[[Use], Awaitable[Answer]]:
        """For `attempt.run`: does the work, and records what it came to."""

        async def updated(use: Use) -> Answer:
            fresh = use.provider_session_id if use.resume_id is None else None
            return await recorded(use, await self.run(work, resume=use.resume_id, session_id=fresh))

        return updated

    def compaction(self, afresh: Work) -> Callable[[Use], Awaitable[Answer]]:
        """For `attempt.run`: shortens the session; does a piece of work where there is none to shorten."""

        async def compacted(use: Use) -> Answer:
            if use.resume_id is None:
                return await self.update(afresh)(use)
            return await recorded(use, await self.compact(use.resume_id))

        return compacted

    def calls(self) -> list[Call]:
        """All calls that ever reached it, in the order in which they began."""
        lines: dict[str, dict[str, Any]] = {}
        with (self._state / "log.jsonl").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            for text in file:
                line = json.loads(text)
                lines.setdefault(line["call"], {}).update(line)
        return [
            Call(
                line["command"],
                line["resume"],
                "hangs" if line["outcome"] == "began" else line["outcome"],
                line.get("session_id"),
                line.get("fate"),
                line["usage"]["tokens"] if "usage" in line else 0,
            )
            for line in lines.values()
        ]

    async def _call(self, command: str, resume: str | None, options: list[str]) -> Answer:
        status, printed = await self._process(command, "--state", str(self._state), *self._habits, *options)
        answer: dict[str, Any] = {"error": "hangs", "message": "no answer in time"} if status is None else printed
        if status == 0:
            return Answer(answer["session_id"], **answer["usage"], seconds=answer["seconds"], context=answer["context"])
        if resume is None:
            raise RefusedError(answer["error"], answer["message"])
        raise ResumeFailed(_REASONS[answer["error"]])

    async def _process(self, *arguments: str) -> tuple[int | None, dict[str, Any]]:
        """Exit status, None if it had to be ended, and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", fakeprovider.__file__, *arguments),  # nothing but the standard library
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                printed, _ = await process.communicate()
        except TimeoutError:
            return None, {}
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode == fakeprovider.STATUS["hangs"]:
            return None, {}
        if process.returncode not in {0, *fakeprovider.STATUS.values()}:
            raise RuntimeError(f"the provider's process ended with {process.returncode}")
        return process.returncode, json.loads(printed)


async def recorded(use: Use, answer: Answer) -> Answer:
    """The answer, once the server knows it."""
    await use.record(
        provider_session_id=answer.session_id,
        tokens=answer.tokens,
        cached_tokens=answer.cached_tokens,
        turns=answer.turns,
        cost_usd=answer.cost_usd,
    )
    return answer


def _options(values: dict[str, Any]) -> list[str]:
    named = ((f"--{name.replace('_', '-')}", value) for name, value in values.items() if value is not None)
    return [word for name, value in named for word in (name, str(value))]
