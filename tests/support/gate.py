"""A function for a database thread that stays until it is told to go on."""

import threading
from typing import Any

from support.waiting import DEADLINE_S


class Gate:
    """Run it in a transaction: it holds the thread until `open` is called.

    Attributes:
        entered: set once a thread is held.
    """

    def __init__(self) -> None:
        self.entered, self._open = threading.Event(), threading.Event()

    def __call__(self, tx: Any) -> None:
        """Wait."""
        self.entered.set()
        self._open.wait(DEADLINE_S)

    def open(self) -> None:
        """Let it go."""
        self._open.set()
