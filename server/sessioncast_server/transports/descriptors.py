"""How many connections the process's file descriptors are enough for."""

import sys

HEADROOM = 256
"""Descriptors kept for the store, the broker, logs, and connections that are being refused."""


def raise_descriptor_limit() -> int | None:
    """Raise the soft limit of open files to the hard one, as any process may; call it once, before listening.

    Returns:
        The limit now in force; None where there is none, or none that can be asked for.
    """
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415  there is no such module on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):  # macOS says «unlimited» and takes only what its kernel has
            pass
    return None if soft == resource.RLIM_INFINITY else soft


def connections_bound(wanted: int, descriptors: int | None) -> int:
    """How many connections to take: as many as wanted, but none that there would be no descriptor for.

    Args:
        wanted: the setting `connections_max`.
        descriptors: as of `raise_descriptor_limit`.
    """
    return wanted if descriptors is None else max(1, min(wanted, descriptors - HEADROOM))
