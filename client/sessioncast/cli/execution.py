"""One run of `exec`."""

import asyncio
import signal
import sys
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sessioncast.cli.board import model_name
from sessioncast.cli.child import Child
from sessioncast.cli.connect import connect, explain, say
from sessioncast.cli.holding import ActiveSessionError, OtherModelError, find_task, take_session
from sessioncast.cli.patience import Patience
from sessioncast.cli.prompt import ask_to_replace, harmless
from sessioncast.cli.pumps import drain, pump
from sessioncast.cli.recorder import Recorder, passes
from sessioncast.cli.resume import OPERATION, WAIT_S, Resumption, a_turn, live_session
from sessioncast.cli.spool import Record, Spool
from sessioncast.client import Client
from sessioncast.confirmation import ModelChangeRequiresConfirmation
from sessioncast.errors import SessioncastError
from sessioncast.limits import Limits
from sessioncast.resumable import Attempt
from sessioncast_shared.resources import Session
from sessioncast_shared.statuses import Status

OURS = 125
"""Exit code of our own failures before the command has run; 126 and 127 are a shell's for «cannot be run»."""

T = TypeVar("T")

_TRY_S = 15.0  # then what waits in memory goes to the disk, and the same is tried again
_LAST_TRY_S = 5.0  # for the final status, when the server has been away for long already
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TYPED = (128 + signal.SIGINT, 128 + signal.SIGQUIT)


@dataclass(frozen=True, slots=True, kw_only=True)
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
    pty: bool
    give_up_after_s: float
    spool_folder: Path
    spool_bytes: int
    quiet: bool


class Execution:
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

        async def append(batch: Record) -> int:
            chunks = [("log", text) for text in batch.texts]
            recorded = await client.sessions.append(
                session.id, chunks, fence=session.fence, deadline_s=_TRY_S, key=batch.key
            )
            return recorded.last

        def failed(error: SessioncastError) -> None:
            say(f"output from seq {recorder.lost_from} on is not recorded: {explain(error)}")

        wish = self._wish
        spool = None
        if wish.spool_bytes:
            spool = Spool(wish.spool_folder, session=session.id, fence=session.fence, limit_bytes=wish.spool_bytes)
        recorder = self._recorder = Recorder(
            append, failed=failed, spool=spool, after=session.output_seq, give_up_after_s=wish.give_up_after_s
        )
        try:
            code = await (self._resumed(self._attempt, recorder) if self._attempt else self._command(recorder))
        except OSError as error:
            await recorder.put(f"{error}\n")
            say(str(error))
            code = 126
        try:
            await recorder.finish()
            await self._end(client, session, code, recorder, spool)
        finally:
            if spool is not None:
                # What was refused for good will be refused again.
                spool.close(keep=recorder.failure is None)
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
        child = self._child = await Child.spawn(command or self._wish.command, pty=self._wish.pty)
        outputs = [(child.stdout, sys.stdout.buffer)]
        outputs += [] if child.stderr is None else [(child.stderr, sys.stderr.buffer)]
        pumps = [asyncio.create_task(pump(source, echo, recorder)) for source, echo in outputs]
        try:
            code = await child.wait()
            self._asked_to_stop |= child.interrupted and code in _TYPED
            self._child = None
            await drain(pumps, [source for source, _ in outputs])
        finally:
            child.close()
        return code

    async def _end(self, client: Client, session: Session, code: int, recorder: Recorder, spool: Spool | None) -> None:
        status = Status.CANCELLED if self._asked_to_stop else Status.FAILED if code else Status.COMPLETED
        metadata: dict[str, object] = {"exit_code": code}
        wait_s = max(self._wish.give_up_after_s, _LAST_TRY_S)
        if recorder.lost_from is not None:
            metadata["recorded_to"] = recorder.lost_from - 1
            wait_s = _LAST_TRY_S
        last = Record(end={"status": str(status), "metadata": metadata})
        words = f"the final status ({status}, exit code {code})"
        if recorder.left:
            reason = explain(recorder.reason) if recorder.reason is not None else "no answer in time"
            say(f"output from seq {recorder.recorded + 1} on is not recorded yet: {reason}")
            self._leave(spool, last, f"{words} is not recorded yet")
            return
        patch = client.sessions.patch(
            session.id, fence=session.fence, deadline_s=wait_s, status=status, metadata=metadata
        )
        try:
            await self._interruptible(patch)
        except asyncio.CancelledError:
            self._leave(spool, last, f"{words} may not be recorded")
        except SessioncastError as error:
            unrecorded = f"{words} is not recorded: {explain(error)}"
            if passes(error):
                self._leave(spool, last, unrecorded)
            else:
                say(unrecorded)

    def _leave(self, spool: Spool | None, last: Record, words: str) -> None:
        """Keep the last words with the rest, and tell what to do with them."""
        say(words)
        if spool is None:
            return
        try:
            spool.add([last], last=True)
        except OSError as error:
            say(f"nor can it be kept: {error}")
        if spool.path is not None and not spool.empty:
            say(f"kept in {spool.path}; once the server is back: sessioncast spool send {spool.path}")

    def _signalled(self, number: signal.Signals) -> None:
        """The command's while it runs; before and after, it ends our own waiting."""
        self._signal = number
        if self._child is not None:
            self._asked_to_stop = True
            self._child.forward(number)
        elif self._asking is not None:
            self._asking.cancel()
        elif self._recorder is not None:
            self._recorder.give_up()

    async def _interruptible(self, asking: Coroutine[Any, Any, T]) -> T:
        future: asyncio.Future[T] = asyncio.ensure_future(asking)
        self._asking = future
        try:
            return await future
        finally:
            self._asking = None
