"""How `exec --resume` hands ids to its command, and takes new ones."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sessioncast.cli.connect import explain, say
from sessioncast.cli.holding import TRIES, Decide, OtherModelError
from sessioncast.cli.result import BadResultError, Result, take_result
from sessioncast.client import Client
from sessioncast.confirmation import ModelChangeRequiresConfirmation
from sessioncast.errors import ResumeFailed, SessioncastError
from sessioncast.resumable import Attempt
from sessioncast.use import Use
from sessioncast_shared.resources import Session

if TYPE_CHECKING:  # it is loaded where it is used
    from stamina.instrumentation import RetryDetails

OPERATION = "exec"
WAIT_S = 60.0
"""For those who are before us; the most that a server allows."""

_RESUME = "SESSIONCAST_RESUME_ID"
_BEGIN = "SESSIONCAST_PROVIDER_SESSION_ID"
_SESSION = "SESSIONCAST_SESSION_ID"
_RESULT = "SESSIONCAST_RESULT_FILE"

Run = Callable[[Sequence[str]], Awaitable[int]]
"""Runs a command line; its exit code."""


class CommandFailedError(Exception):
    """The command's own failure: its id is not worth resuming unless it named one."""


async def live_session(client: Client, task: str, phase: str, model: str, *, named: bool, decide: Decide) -> Session:
    """The live session of the phase, whatever its status; a new one where there is none.

    Args:
        named: the model was asked for: a session of another is not resumed, but replaced, if that is so decided.

    Raises:
        OtherModelError: the session is another model's, and stays.
        SessionChanged: others were faster each time.
    """
    found = None if named else await client.sessions.find(task, phase)
    if found is not None:
        return found
    try:
        return (await client.sessions.start(task, phase, model)).session
    except ModelChangeRequiresConfirmation as refusal:
        last = refusal
    for _ in range(TRIES):
        # Ended or not, there is something to resume in it.
        if not await decide(last):
            raise OtherModelError(last)
        try:
            return (await last.confirm()).session
        except ModelChangeRequiresConfirmation as refusal:
            last = refusal
    raise last


@asynccontextmanager
async def a_turn() -> AsyncIterator[AsyncExitStack]:
    """Room for a turn, which is over at the end; if the server cannot be told, that is said."""
    stack = AsyncExitStack()
    try:
        yield stack
    finally:
        try:
            await stack.aclose()
        except SessioncastError as error:
            say(f"the end of the turn is not recorded, others wait for its lease: {explain(error)}")


class Resumption:
    """Runs a command until it has resumed, or begun afresh.

    Attributes:
        code: exit code of its last run.
    """

    def __init__(
        self, attempt: Attempt, command: Sequence[str], *, tell_s: float, stopping: Callable[[], bool]
    ) -> None:
        """Nothing is run yet.

        Args:
            tell_s: seconds until what the provider told is left for the end to tell.
            stopping: whether somebody wants the command to end, and not to run again.
        """
        self.code = 0
        self._attempt = attempt
        self._command = command
        self._tell_s = tell_s
        self._stopping = stopping

    async def run(self, run: Run) -> int:
        """The exit code to leave with. What could not be recorded is said, and recorded at the end if it can be."""
        from stamina.instrumentation import set_on_retry_hooks

        # Stamina's own would write to where the command's output goes.
        set_on_retry_hooks([_tell_retry])
        with _result_file() as path:

            async def once(use: Use) -> None:
                self.code = await run(command_line(use, path, self._command))
                await self._take(use, path)

            try:
                await self._attempt.run(once)
            except CommandFailedError:
                pass
            except ResumeFailed as failure:
                say(f"the provider did not resume: {failure}")
                return self.code or 1
            except SessioncastError as error:
                say(explain(error))
                return self.code or 1
        return self.code

    async def _take(self, use: Use, path: Path) -> None:
        stopped = False
        # In a thread: the disk may be slow, and signals must get through. What was read is gone from there, so that it
        # is recorded first, also when one comes just now.
        reading = asyncio.ensure_future(asyncio.to_thread(take_result, path))
        while not reading.done():
            try:
                await asyncio.wait({reading})
            except asyncio.CancelledError:
                stopped = True
        try:
            result = reading.result()
        except BadResultError as error:
            say(f"what the command wrote to {_RESULT} is not understood: {error}")
            result = error.rest or Result()
            if error.rest is None:
                use.doubt()
        if result.resume_failed is not None and not (stopped or self._stopping()):
            raise ResumeFailed(result.resume_failed)
        usage = {} if result.usage is None else result.usage.model_dump()
        told = (result.provider_session_id, result.structure_fingerprint, *usage.values())
        if any(part is not None for part in told):
            try:
                async with asyncio.timeout(self._tell_s):
                    await use.record(
                        provider_session_id=result.provider_session_id,
                        structure_fingerprint=result.structure_fingerprint,
                        **usage,
                    )
            except SessioncastError as error:
                say(f"what the provider told is not recorded: {explain(error)}")
            except ValueError as error:  # half a character, a number that is none
                say(f"what the provider told is not recorded: {str(error)!a}")
            except TimeoutError:
                say(f"what the provider told is not recorded yet: no answer within {self._tell_s:g} s")
        if stopped:
            raise asyncio.CancelledError
        if self.code or self._stopping():
            raise CommandFailedError


def command_line(use: Use, path: Path, command: Sequence[str]) -> list[str]:
    """The command with its variables set, by env(1): those of an `exec` around us must not shine through."""
    told = {_SESSION: use.session_id, _RESULT: str(path)}
    told |= {_BEGIN: use.provider_session_id} if use.resume_id is None else {_RESUME: use.resume_id}
    unset = [part for name in (_RESUME, _BEGIN) if name not in told for part in ("-u", name)]
    # What has a «=» in its name would be taken for a variable.
    through = ["sh", "-c", 'exec "$0" "$@"'] if "=" in command[0] else []
    return ["env", *unset, *(f"{name}={value}" for name, value in told.items()), *through, *command]


def _tell_retry(details: "RetryDetails") -> None:
    say(f"the provider did not resume: {details.caused_by}; trying again in {details.wait_for:.1f} s")


@contextmanager
def _result_file() -> Iterator[Path]:
    with TemporaryDirectory(prefix="sessioncast-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "result"
