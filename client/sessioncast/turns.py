"""Waiting for one's turn, and giving it back where nobody wants it any more."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from sessioncast.afterwards import Afterwards
from sessioncast.answer import Answer
from sessioncast.errors import KeyReused, ProblemError, SessionBeingModified
from sessioncast.limits import Limits
from sessioncast.sender import Sender

T = TypeVar("T")

Ask = Callable[[Mapping[str, Any], str], Awaitable[T]]
"""One request for a turn, by its wishes and its `Idempotency-Key`."""


async def queued(
    sender: Sender,
    limits: Limits,
    path: str,
    wishes: Mapping[str, Any],
    *,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """The answer to a POST that waits in a queue on the server.

    It is one request: a lost answer is asked for again, and told again, but once the server has said that the turn did
    not come in `wait_s` that is the answer. With `Limits.attempt_s` for the way, it never takes longer than both.

    Raises:
        SessionBeingModified: others still had their turns; `ahead` is how many.
    """
    longest_s = wishes.get("wait_s", limits.turn_s) + limits.attempt_s
    return await sender.send(
        "POST",
        path,
        body=wishes,
        key=key,
        headers=headers,
        deadline_s=longest_s,
        attempt_s=longest_s,
        final=_did_not_come,
    )


async def taken(
    ask: Ask[T],
    wishes: Mapping[str, Any],
    *,
    give_up: Callable[[T], Awaitable[object]],
    afterwards: Afterwards,
    within_s: float,
) -> T:
    """Wait for a turn. Cancelled it is over at once; the place in the queue, or the turn if it has come, is given up
    in the background, within so many seconds.
    """
    key = str(uuid.uuid4())
    asking = asyncio.ensure_future(ask(wishes, key))
    try:
        return await asyncio.shield(asking)
    except asyncio.CancelledError:
        afterwards.add(_hand_back(ask, wishes, key, asking, give_up), within_s=within_s)
        raise


async def _hand_back(
    ask: Ask[T],
    wishes: Mapping[str, Any],
    key: str,
    asking: "asyncio.Future[T]",
    give_up: Callable[[T], Awaitable[object]],
) -> None:
    """Give up what a request for a turn got, or may still get. It is asked for under its own key, not to wait.

    The server answers that the turn has not come, and has given the place up; or gives it now; or says that the key was
    used for another wish: then the turn has come before, and the wish as it was is answered with it.
    """
    asking.cancel()  # its connection is closed: nobody waits there any more
    await asyncio.wait({asking})
    if asking.cancelled():
        try:
            turn = await ask({**wishes, "wait_s": 0}, key)
        except KeyReused:
            turn = await ask(wishes, key)
    else:
        turn = asking.result()
    await give_up(turn)


def _did_not_come(refusal: ProblemError) -> bool:
    # Without a number of those ahead it is a lock that was not had, which is gone in a moment.
    return isinstance(refusal, SessionBeingModified) and refusal.ahead is not None
