"""`sessioncast`, which at SIGUSR1 writes down what is in its memory: run as `watched.py serve …`.

The file is the one that `SOAK_CENSUS` names; it is replaced as a whole.
"""

import asyncio
import ctypes
import gc
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType


def census() -> dict[str, int]:
    """How many objects of each type the collector knows, and `tasks` that are not done."""
    gc.collect()
    objects = gc.get_objects()
    found = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in objects)
    tasks = sum(type(each) is asyncio.Task and not each.done() for each in objects)
    # As SQLite counts: its caches are bounded by settings of its own, and no object shows them.
    return {**found, "tasks": tasks, "objects": len(objects), "sqlite": _sqlite_bytes()}


def _sqlite_bytes() -> int:
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split(maxsplit=5)[-1]
        if "libsqlite3" in path:
            used = ctypes.CDLL(path).sqlite3_memory_used
            used.restype = ctypes.c_int64
            return int(used())
    return 0


def _tell(_number: int, _frame: FrameType | None) -> None:
    path = Path(os.environ["SOAK_CENSUS"])
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(census()))
    partial.replace(path)


if __name__ == "__main__":
    from sessioncast.__main__ import main

    signal.signal(signal.SIGUSR1, _tell)
    sys.argv[0] = "sessioncast"
    main()
