"""A holder of a session, as a process of its own."""

import json
import sys
from pathlib import Path
from typing import Any

from support import holding
from support.program import Program


class Holder(Program):
    """Runs `support.holding`.

    Args:
        token: without «Bearer».
    """

    def __init__(self, folder: Path, *, url: str, token: str, session: dict[str, Any]) -> None:
        super().__init__(folder / f"holder-{session['id']}.log")
        self._arguments = [url, token, session["id"], str(session["fence"])]

    def command(self) -> list[str | Path]:
        """The script."""
        return [sys.executable, Path(holding.__file__), *self._arguments]

    def is_ready(self) -> bool:
        """Whether it has printed a few times."""
        return len(self.told()) > 3

    def told(self) -> list[dict[str, Any]]:
        """What it tried so far, and what it was refused with."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]
