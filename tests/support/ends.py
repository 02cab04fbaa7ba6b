"""Which process holds the other end of a connection, as Linux tells in /proc."""

from collections.abc import Iterable
from pathlib import Path


def holder_of(port: int, client_port: int, pids: Iterable[int]) -> int | None:
    """Which of the processes serves the connection from `client_port` to `port` on IPv4; None if none of them does."""
    wanted = f"socket:[{_inode(port, client_port)}]"
    return next((pid for pid in pids if wanted in _descriptors(pid)), None)


def _inode(local: int, remote: int) -> int | None:
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ports = [int(end.partition(":")[2], 16) for end in fields[1:3]]
        if ports == [local, remote]:
            return int(fields[9])
    return None


def _descriptors(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(str(entry.readlink()))
        except FileNotFoundError:  # closed while we looked
            continue
    return found
