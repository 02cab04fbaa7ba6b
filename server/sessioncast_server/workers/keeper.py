"""The parent of the workers: starts, watches over and ends them, and serves nothing itself."""

import asyncio
import signal
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass

import structlog

from sessioncast_server.settings import Settings
from sessioncast_server.workers.port import Port
from sessioncast_server.workers.process import Death, WorkerProcess

_log = structlog.get_logger(__name__)


class WorkersError(Exception):
    """The workers do not serve; the text says why.

    Attributes:
        status: what the process exits with: 2 if they did not begin, 1 if they could not go on.
    """

    def __init__(self, text: str, *, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Patience:
    """What is waited for.

    Attributes:
        start_s: until a worker is ready; then it is killed.
        stop_s: until told workers have ended; then they are killed.
        pause_s, pause_max_s: before a dead worker is started again; doubles with each death.
        deaths, within_s: a worker that died so often within that time ends all.
    """

    start_s: float
    stop_s: float
    pause_s: float = 0.25
    pause_max_s: float = 4.0
    deaths: int = 5
    within_s: float = 60.0

    @classmethod
    def of(cls, settings: Settings) -> "Patience":
        """As the settings have it: connecting and draining take their time, and the rest of both is short."""
        return cls(start_s=settings.postgres_connect_timeout_s + 60, stop_s=settings.drain_s + 10)


def run_workers(settings: Settings, *, ready: Callable[[str], None]) -> None:
    """Serve with `settings.workers` processes until SIGTERM or SIGINT; `ready` is told the address.

    Raises:
        WorkersError: they did not all begin, or one of them kept dying.
    """
    try:
        port = Port.hold(settings.host, settings.port)
    except OSError as error:
        raise WorkersError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}", status=2
        ) from None
    with closing(port):
        asyncio.run(Keeper(settings, port, Patience.of(settings), ready=ready).keep())


class Keeper:
    """Keeps each worker alive, and ends all together."""

    def __init__(self, settings: Settings, port: Port, patience: Patience, *, ready: Callable[[str], None]) -> None:
        self._settings = settings
        self._port = port
        self._patience = patience
        self._ready = ready
        self._end = asyncio.Event()
        self._alive: dict[int, WorkerProcess] = {}
        self._serving: set[int] = set()
        self._began = False

    async def keep(self) -> None:
        """Until told to end.

        Raises:
            WorkersError: they did not all begin, or one of them kept dying.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told, number)
        kept = [asyncio.create_task(self._keep_one(number + 1)) for number in range(self._settings.workers)]
        told = asyncio.create_task(self._end.wait())
        await asyncio.wait([told, *kept], return_when=asyncio.FIRST_COMPLETED)
        self._stop()
        _, late = await asyncio.wait(kept, timeout=self._patience.stop_s)
        if late:
            self._kill()
        for outcome in await asyncio.gather(*kept, return_exceptions=True):
            if outcome is not None:
                raise outcome

    def _told(self, number: signal.Signals) -> None:
        if self._end.is_set() and number == signal.SIGINT:  # a second one does not wait for anybody
            self._kill()
        self._stop()

    def _stop(self) -> None:
        """Tell each worker, once, whatever the signal: a process takes a second SIGINT for impatience."""
        if not self._end.is_set():
            self._end.set()
            for process in self._alive.values():
                process.send(signal.SIGTERM)

    def _kill(self) -> None:
        for number, process in self._alive.items():
            _log.warning("worker killed", worker=number, pid=process.pid)
            process.send(signal.SIGKILL)

    async def _keep_one(self, number: int) -> None:
        """Start the worker whenever it does not run, until told to end."""
        patience = self._patience
        deaths: deque[float] = deque(maxlen=patience.deaths)
        while not self._end.is_set():
            death = await self._live(number)
            if self._end.is_set():
                return
            if not self._began:
                said = death.why if death.refused else f"worker {number} {death.why} at the start"
                raise WorkersError(said, status=2)
            deaths.append(asyncio.get_running_loop().time())
            while deaths[-1] - deaths[0] > patience.within_s:
                deaths.popleft()
            # What a new one needs may be away for long: no reason to end the streams of those that have it.
            spared = death.refused and self._serving
            if len(deaths) == patience.deaths and not spared:
                raise WorkersError(
                    f"worker {number} died {patience.deaths} times within {patience.within_s:g} s; "
                    f"the last one {death.why}",
                    status=1,
                )
            pause_s = min(patience.pause_s * 2 ** (len(deaths) - 1), patience.pause_max_s)
            _log.error("worker died", worker=number, why=death.why, again_in_s=pause_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._end.wait(), pause_s)

    async def _live(self, number: int) -> Death:
        """One process of the worker, from its start to its end."""
        try:
            process = await WorkerProcess.start(number, self._settings, self._port.sockets())
        except OSError as error:
            return Death(f"cannot be started: {error}", refused=True)
        self._alive[number] = process
        try:
            if self._end.is_set():  # meanwhile, and it was not among those who were told
                process.send(signal.SIGTERM)
            if await process.is_ready(self._patience.start_s):
                self._serves(number, process)
            return await process.death()
        finally:
            self._serving.discard(number)
            del self._alive[number]

    def _serves(self, number: int, process: WorkerProcess) -> None:
        _log.info("worker ready", worker=number, pid=process.pid)
        self._serving.add(number)
        if len(self._serving) == self._settings.workers and not self._began:
            self._began = True
            self._ready(self._port.url)
