"""Tells a person who waits what for."""

import asyncio

from sessioncast.cli.connect import explain, say
from sessioncast.errors import ConnectionLost, ProblemError

SLOW_S = 3.0


class Patience:
    """Says nothing for a while, then why there is no answer yet: each reason once."""

    def __init__(self, *, slow_s: float = SLOW_S, reasons_only: bool = False) -> None:
        """`reasons_only`: where waiting is what is wanted, that nothing came is not worth a word."""
        self._slow_s = slow_s
        self._reasons_only = reasons_only
        self._slow = False
        self._timer: asyncio.TimerHandle | None = None
        self._reason: ProblemError | ConnectionLost | None = None
        self._told: set[str] = set()

    def start(self) -> None:
        """The waiting begins, or begins anew."""
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(self._slow_s, self._tell_late)

    def stop(self) -> None:
        """Nobody waits for the server now."""
        self._slow, self._reason = False, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def retrying(self, reason: ProblemError | ConnectionLost) -> None:
        """A request is about to be repeated."""
        self._reason = reason
        if self._slow:
            self._tell()

    def _tell_late(self) -> None:
        self._slow = True
        self._tell()

    def _tell(self) -> None:
        reason = self._reason
        if reason is None and self._reasons_only:
            return
        # Not by its text, in which request ids differ.
        name = reason.code or str(reason.status) if isinstance(reason, ProblemError) else type(reason).__name__
        if name not in self._told:
            self._told.add(name)
            say(f"{explain(reason)}; trying again" if reason is not None else "waiting for the server")
