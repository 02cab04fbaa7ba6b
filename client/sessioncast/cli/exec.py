"""`sessioncast exec`: run any command as a session."""

import asyncio
import contextlib
import shutil
import signal
import sys
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, BinaryIO, TypeVar

import typer

from sessioncast.cli.board import model_name
from sessioncast.cli.child import Child, Pipe
from sessioncast.cli.connect import DEFAULT_URL, Project, Token, Url, connect, explain, say
from sessioncast.cli.holding import ActiveSessionError, OtherModelError, find_task, take_session
from sessioncast.cli.lines import LineCutter
from sessioncast.cli.patience import Patience
from sessioncast.cli.prompt import ask_to_replace, can_ask, harmless
from sessioncast.cli.recorder import Recorder
from sessioncast.cli.resume import OPERATION, WAIT_S, Resumption, a_turn, live_session
from sessioncast.client import Client
from sessioncast.confirmation import ModelChangeRequiresConfirmation
from sessioncast.errors import SessioncastError
from sessioncast.limits import Limits
from sessioncast.resumable import Attempt
from sessioncast_shared.phases import parse_phase
from sessioncast_shared.resources import Session
from sessioncast_shared.statuses import Status

OURS = 125
"""Exit code of our own failures before the command has run; 126 and 127 are a shell's for «cannot be run»."""

T = TypeVar("T")

_LINGER_S = 2.0
_LAST_TRY_S = 5.0  # for the final status, when the server has been away for long already
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be run, and as what."""

    project: str
    task: str
    phase: str
    model: str
    model_named: bool
    replace: bool
    resume: bool
    ask: bool
    command: Sequence[str]
    give_up_after_s: float
    quiet: bool


def execute(
    command: Annotated[list[str], typer.Argument(help="The command and its arguments, after «--».")],
    *,
    task: Annotated[str, typer.Option("--task", "-t", help="Task id, or a title: created when there is none.")],
    phase: Annotated[str, typer.Option("--phase", help="plan, run or verify.")] = "run",
    project: Project = "default",
    model: Annotated[
        str | None,
        typer.Option(help="Name to run under. [default: the command's name; with --resume, the live session's]"),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a session that is still active, unasked.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the live session, and tell the command which id to resume."),
    ] = False,
    no_input: Annotated[
        bool, typer.Option("--no-input", help="Never ask on the terminal: an active session is left as it is.")
    ] = False,
    give_up_after: Annotated[
        float, typer.Option(min=0, help="Seconds without the server until output is no longer kept for it.")
    ] = 300.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not tell the session's id.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Run a command as a session: its output, line by line, becomes the session's, its exit code the final status.

    Input, output, signals and the exit code are the command's own. 125: it was not run.
    """
    try:
        phase = parse_phase(phase)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--phase") from error
    if replace and resume:
        raise typer.BadParameter("a session is replaced or resumed, not both", param_hint="--resume")
    if shutil.which(command[0]) is None:
        say(f"{command[0]}: no such command")
        raise typer.Exit(127)
    name = model or PurePath(command[0]).name
    ask = not no_input and can_ask()
    wish = Wish(project, task, phase, name, model is not None, replace, resume, ask, command, give_up_after, quiet)
    raise typer.Exit(asyncio.run(_Execution(wish).run(url, token)))


class _Execution:
    """One run of a command, from the start of its session to its final status."""

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self._child: Child | None = None
        self._recorder: Recorder | None = None
        self._attempt: Attempt | None = None
        self._asking: asyncio.Future[Any] | None = None
        self._asked_to_stop = False
        self._signal = signal.SIGINT
        self._patience = Patience()
        self._tell_s = min(Limits().close_s, max(wish.give_up_after_s, _LAST_TRY_S))

    async def run(self, url: str, token: str | None) -> int:
        """The exit code to leave with."""
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._signalled, number)
        limits = Limits(close_s=self._tell_s)
        async with connect(url, token, on_retry=self._patience.retrying, limits=limits) as client, a_turn() as turn:
            self._patience.start()
            try:
                session = await self._interruptible(self._take(client, turn))
            except asyncio.CancelledError:
                return 128 + self._signal
            except ActiveSessionError as error:
                existing = error.refusal.existing
                say(
                    f"session {existing.id} is left as it is"
                    if self._wish.ask
                    else f"session {existing.id} ({existing.status}) is active; --replace to replace it"
                )
                return OURS
            except OtherModelError as error:
                existing = error.refusal.existing
                say(f"session {existing.id} is left as it is: its model is {harmless(model_name(existing.model))}")
                return OURS
            except SessioncastError as error:
                say(explain(error))
                return OURS
            finally:
                # From here on the terminal is the command's.
                self._patience.stop()
            return await self._hold(client, session)

    async def _take(self, client: Client, turn: AsyncExitStack) -> Session:
        wish = self._wish
        task = await find_task(client, wish.project, wish.task)
        if wish.resume:
            live = await live_session(
                client, task, wish.phase, wish.model, named=wish.model_named, decide=self._may_replace
            )
            # The turn lasts until the final status is told: then nobody else can have taken the session over.
            attempt = await turn.enter_async_context(client.resumable(live, OPERATION, wait_s=WAIT_S))
            self._attempt = attempt
            return await client.sessions.patch(live.id, fence=attempt.fence, status=Status.RUNNING)
        session = await take_session(client, task, wish.phase, wish.model, decide=self._may_replace)
        return await client.sessions.patch(session.id, fence=session.fence, status=Status.RUNNING)

    async def _may_replace(self, refusal: ModelChangeRequiresConfirmation) -> bool:
        if self._wish.replace or not self._wish.ask:
            return self._wish.replace
        self._patience.stop()
        try:
            return await ask_to_replace(refusal)
        finally:
            self._patience.start()

    async def _hold(self, client: Client, session: Session) -> int:
        """Run the command as this session."""
        if not self._wish.quiet:
            say(f"session {session.id}")

        async def append(texts: Sequence[str]) -> int:
            chunks = [("log", text) for text in texts]
            wait_s = self._wish.give_up_after_s
            recorded = await client.sessions.append(session.id, chunks, fence=session.fence, deadline_s=wait_s)
            return recorded.last

        def failed(error: SessioncastError) -> None:
            say(f"output from seq {recorder.recorded + 1} on is not recorded: {explain(error)}")

        recorder = self._recorder = Recorder(append, failed=failed)
        try:
            code = await (self._resumed(self._attempt, recorder) if self._attempt else self._command(recorder))
        except OSError as error:
            await recorder.put(f"{error}\n")
            say(str(error))
            code = 126
        await recorder.finish()
        await self._end(client, session, code, recorder)
        return code

    async def _resumed(self, attempt: Attempt, recorder: Recorder) -> int:
        async def run(command: Sequence[str]) -> int:
            # Between two runs a signal ends the waiting; here it is the command's, then it ends the recording.
            asking, self._asking = self._asking, None
            try:
                return await self._command(recorder, command)
            finally:
                self._asking = asking

        resumption = Resumption(attempt, self._wish.command, tell_s=self._tell_s, stopping=lambda: self._asked_to_stop)
        try:
            return await self._interruptible(resumption.run(run))
        except asyncio.CancelledError:
            self._asked_to_stop = True
            return 128 + self._signal

    async def _command(self, recorder: Recorder, command: Sequence[str] = ()) -> int:
        child = self._child = await Child.spawn(command or self._wish.command)
        pumps = [
            asyncio.create_task(_pump(child.stdout, sys.stdout.buffer, recorder)),
            asyncio.create_task(_pump(child.stderr, sys.stderr.buffer, recorder)),
        ]
        try:
            code = await child.wait()
            self._child = None
            await _drain(pumps, (child.stdout, child.stderr))
        finally:
            child.close()
        return code

    async def _end(self, client: Client, session: Session, code: int, recorder: Recorder) -> None:
        status = Status.CANCELLED if self._asked_to_stop else Status.FAILED if code else Status.COMPLETED
        metadata: dict[str, object] = {"exit_code": code}
        wait_s = self._wish.give_up_after_s
        if recorder.failure is not None:
            metadata["recorded_to"] = recorder.recorded
            wait_s = min(wait_s, _LAST_TRY_S)
        patch = client.sessions.patch(
            session.id, fence=session.fence, deadline_s=wait_s, status=status, metadata=metadata
        )
        try:
            await self._interruptible(patch)
        except asyncio.CancelledError:
            say(f"the final status ({status}, exit code {code}) may not be recorded")
        except SessioncastError as error:
            say(f"the final status ({status}, exit code {code}) is not recorded: {explain(error)}")

    def _signalled(self, number: signal.Signals) -> None:
        """The command's while it runs; before and after, it ends our own waiting."""
        self._signal = number
        if self._child is not None:
            self._asked_to_stop = True
            self._child.forward(number)
        elif self._asking is not None:
            self._asking.cancel()
        elif self._recorder is not None:
            self._recorder.give_up(SessioncastError("stopped by a signal"))

    async def _interruptible(self, asking: Coroutine[Any, Any, T]) -> T:
        future: asyncio.Future[T] = asyncio.ensure_future(asking)
        self._asking = future
        try:
            return await future
        finally:
            self._asking = None


async def _pump(pipe: Pipe, echo: BinaryIO, recorder: Recorder) -> None:
    cutter = LineCutter()
    heard = True
    try:
        while data := await pipe.read():
            if heard:
                # In a thread: whoever reads our output may be slow, and signals must get through.
                heard = await asyncio.to_thread(_write, echo, data)
            for text in cutter.feed(data):
                await recorder.put(text)
    finally:
        for text in cutter.finish():
            await recorder.put(text)


def _write(echo: BinaryIO, data: bytes) -> bool:
    try:
        echo.write(data)
        echo.flush()
    except OSError:
        return False  # nobody listens any more; the session still does
    return True


async def _drain(pumps: Sequence[asyncio.Task[None]], pipes: Sequence[Pipe]) -> None:
    """Wait for the rest of the output.

    A process that the command left behind may hold the pipes open for ever: after a while of silence it is left alone.
    """
    while True:
        before = sum(pipe.reads for pipe in pipes)
        _, pending = await asyncio.wait(pumps, timeout=_LINGER_S)
        if not pending:
            break
        silent = sum(pipe.reads for pipe in pipes) == before
        if silent and all(pump.done() or pipe.waiting for pump, pipe in zip(pumps, pipes, strict=True)):
            for pump in pending:
                pump.cancel()
    for pump in pumps:
        with contextlib.suppress(asyncio.CancelledError):
            await pump
