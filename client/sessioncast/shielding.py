"""Work that a cancellation must not stop."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Do it to its end, which has to be bounded, however often the caller is cancelled meanwhile.

    Raises:
        CancelledError: the caller was cancelled; the work is done nevertheless, or its failure is the cause.
    """
    import anyio  # noqa: PLC0415  loaded with the first request anyway

    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    # A scope of anyio's that is cancelled says so again and again; a task of asyncio's, once each time.
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled from (None if task.cancelled() else task.exception())
    return task.result()
