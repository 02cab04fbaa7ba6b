"""A process together with its descendants, as Linux tells of them in /proc."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from support.waiting import wait_until


def family(pid: int) -> list[int]:
    """The process and all its living descendants, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended while we read
                children.setdefault(_stat(int(entry.name))[1], []).append(int(entry.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def alive(pid: int) -> bool:
    """Whether the process still runs; one that ended and was not yet collected does not."""
    try:
        return _stat(pid)[0] not in "ZX"
    except OSError:
        return False


def stopped(pid: int) -> bool:
    """Whether the process is held by SIGSTOP."""
    try:
        return _stat(pid)[0] == "T"
    except OSError:
        return False


def send(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to each that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def freeze(pid: int) -> list[int]:
    """Hold a process and its descendants, and return them once none of them can take another step."""
    # The parent first, so that it starts no child that we would miss.
    send([pid], signal.SIGSTOP)
    wait_until(lambda: stopped(pid) or not alive(pid), f"process {pid} to stop")
    members = family(pid)
    send(members, signal.SIGSTOP)
    wait_until(lambda: all(stopped(member) or not alive(member) for member in members), f"{members} to stop")
    return members


def _stat(pid: int) -> tuple[str, int]:
    """State letter and parent (proc_pid_stat(5)); the name before them may itself hold brackets and spaces."""
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return fields[0], int(fields[1])
