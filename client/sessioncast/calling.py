"""Functions of the caller's, async or not."""

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from sessioncast.blocking import Blocking
from sessioncast.onloop import OnLoop, caller

Function = Callable[[Any], Any]
"""Takes what it works with. One that is not async gets a view of it that blocks."""


async def call(function: Function, argument: Any, threads: "set[asyncio.Future[Any]]") -> Any:
    """Its result. The event loop goes on meanwhile: a function that is not async is called in a thread of its own, or,
    for a sync client, in the thread that asked for it.

    Args:
        threads: holds it while it runs in a thread of its own, also when who waits here was cancelled: nothing can stop
            it then.
    """
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        found: Any = function(argument)
    else:
        work = partial(function, Blocking.of(argument, OnLoop(asyncio.get_running_loop())))
        desk = caller.get()
        found = await (_threaded(work, threads) if desk is None or desk.over else desk.run(work))
    # A lambda that calls an async function is none itself.
    return await found if inspect.isawaitable(found) else found


async def _threaded(work: Callable[[], Any], threads: "set[asyncio.Future[Any]]") -> Any:
    thread = asyncio.ensure_future(asyncio.to_thread(work))
    threads.add(thread)
    thread.add_done_callback(partial(_gone, threads))
    return await asyncio.shield(thread)


def _gone(threads: "set[asyncio.Future[Any]]", thread: "asyncio.Future[Any]") -> None:
    threads.discard(thread)
    if not thread.cancelled():
        thread.exception()  # seen; who was cancelled does not ask for it
