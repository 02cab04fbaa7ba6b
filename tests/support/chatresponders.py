"""Responders for tests: a copy of this file stands in the folder that nodes work in. They talk to tests by files."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PATIENCE_S = 60


def slow(context: Any, message: str) -> Iterator[str]:
    """Says that it began; goes on once the file `go` is there, or one that is called as the message."""
    Path(f"began-{message}").touch()
    yield f"heard {message}, "
    end = time.monotonic() + _PATIENCE_S
    while not Path("go").exists() and not Path(f"go-{message}").exists() and time.monotonic() < end:
        time.sleep(0.005)
    yield f"after {len(context.said)}" if context.available else "without memory"


def teller(context: Any, message: str) -> str:
    """Tells all that it knows: who asks where, and what was said, of answers their beginning only."""
    said = "|".join(one.text.partition(" <- ")[0] for one in context.said)
    return f"{context.user}/{context.thread}: {message} <- {said}"
