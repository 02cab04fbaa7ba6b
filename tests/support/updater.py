"""A program that updates a session, as a process of its own."""

import json
import sys
from pathlib import Path
from typing import Any, Literal

from support import updating
from support.program import Program


class Updater(Program):
    """Runs `support.updating`.

    Args:
        token: without «Bearer».
        how: whether its updates end; `goes on` and `silent` ones do not, and a silent one never tells an id.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        url: str,
        token: str,
        session: str,
        how: Literal["ends", "goes on", "silent"] = "ends",
        count: int = 1,
        lease_s: float = 60,
    ) -> None:
        super().__init__(folder / f"{name}.log")
        self._arguments = [url, token, session, name, how, str(count), str(lease_s)]

    def command(self) -> list[str | Path]:
        """The script."""
        return [sys.executable, Path(updating.__file__), *self._arguments]

    def is_ready(self) -> bool:
        """Whether it was told what to resume."""
        return bool(self.told("began"))

    def told(self, *what: str) -> list[dict[str, Any]]:
        """The lines of some kinds that it wrote so far, in order."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in lines if line["what"] in what]

    def used(self, row: str) -> int:
        """Tokens of a provider session that were confirmed."""
        return max((line["tokens"] for line in self.told("told") if line["row"] == row and "tokens" in line), default=0)
