"""Who reads what a command writes, as long as somebody does."""

import asyncio
import os
import select
import stat
import sys

_PERIOD_S = 0.5


async def until_gone() -> None:
    """Return when nobody reads stdout any more: `… | head -1` ends the command also while there is nothing to write.

    Never, where stdout is no pipe, or nobody can tell.
    """
    poll = _poll()
    if poll is None:
        await asyncio.Event().wait()
        return
    while not poll.poll(0):  # noqa: ASYNC110  nobody tells when a reader goes
        await asyncio.sleep(_PERIOD_S)


def _poll() -> "select.poll | None":
    try:
        if not stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
            return None
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # errors are told unasked, and a pipe without a reader is one
    except (AttributeError, OSError, ValueError):
        return None  # not on every platform; or stdout is none
    return poll
