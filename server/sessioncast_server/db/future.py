"""Futures that threads fulfil. The outcome of a write does not depend on whether somebody still waits for it."""

import asyncio
from typing import Any


def settle(future: "asyncio.Future[Any]", value: Any, error: BaseException | None) -> None:
    """Fulfil a future on its loop, unless its waiter was cancelled."""
    if future.done():
        return
    if error is None:
        future.set_result(value)
    elif isinstance(error, StopIteration):  # which no future takes
        future.set_exception(RuntimeError(repr(error)))
    else:
        future.set_exception(error)
