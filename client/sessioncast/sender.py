"""Requests that survive lost answers and restarting servers."""

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sessioncast.answer import Answer, Query
from sessioncast.backoff import Backoff
from sessioncast.errors import ConnectionLost, ProblemError, ProtocolError
from sessioncast.limits import Limits

if TYPE_CHECKING:  # it is named only
    from sessioncast.backend import Backend
    from sessioncast.cache import Cache

OnRetry = Callable[[ProblemError | ConnectionLost], None]
"""Hears why a request is about to be repeated."""

_SAFE = frozenset({"GET", "HEAD"})


class Sender:
    """Sends a request until it is answered for good, or its deadline has passed.

    An unsafe request carries one `Idempotency-Key`, made once and sent with every repetition: the server applies it
    once, whichever answer was lost. That is why repeating is always allowed here.

    Attributes:
        witness: hears of all that is read and written; None: nobody cares.
    """

    def __init__(self, transport: "Backend", limits: Limits, *, on_retry: OnRetry | None = None) -> None:
        self._transport = transport
        self._limits = limits
        self._on_retry = on_retry
        self.witness: Cache | None = None

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        deadline_s: float | None = None,
        attempt_s: float | None = None,
        final: Callable[[ProblemError], bool] | None = None,
    ) -> Answer:
        """The server's answer: a 2xx, or a 304 to a request with `If-None-Match`.

        Args:
            body: JSON value.
            key: the `Idempotency-Key`, for who asks again; without it a new one.
            deadline_s, attempt_s: instead of the limits' own.
            final: whether a refusal is not repeated, whatever it says of itself.

        Raises:
            ProblemError: the server refused for good, or kept refusing until the deadline.
            ConnectionLost: the server did not answer until the deadline.
            TypeError, ValueError: the body is no JSON; nothing was sent.
        """
        witness = self.witness
        began = 0 if witness is None else witness.now
        answer: Answer | None = None
        try:
            answer = await self._repeated(
                method, path, query, body, headers, key=key, deadline_s=deadline_s, attempt_s=attempt_s, final=final
            )
        finally:
            if witness is not None:
                if method not in _SAFE:
                    witness.wrote(path, body, answer)  # also without an answer: it may have been done
                elif answer is not None:
                    witness.read(path, query, answer, began)
        return answer

    async def _repeated(
        self,
        method: str,
        path: str,
        query: Query,
        body: Any,
        headers: Mapping[str, str] | None,
        *,
        key: str | None,
        deadline_s: float | None,
        attempt_s: float | None,
        final: Callable[[ProblemError], bool] | None,
    ) -> Answer:
        sent = dict(headers or {})
        content = None
        if method not in _SAFE:
            sent["Content-Type"] = "application/json"
            sent["Idempotency-Key"] = key or str(uuid.uuid4())
            content = b"" if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        loop = asyncio.get_running_loop()
        backoff = Backoff(self._limits)
        whole_s = self._limits.attempt_s if attempt_s is None else attempt_s
        ends = loop.time() + (self._limits.deadline_s if deadline_s is None else deadline_s)
        refusal: ProblemError | None = None
        while True:
            asked_s: float | None = None
            failure: ProblemError | ConnectionLost
            left_s = max(ends - loop.time(), 0.001)
            try:
                answer = await self._attempt(
                    method, path, min(left_s, whole_s), query=query, content=content, headers=sent
                )
                if 200 <= answer.status < 300 or (answer.status == 304 and "If-None-Match" in sent):
                    return answer
                if 300 <= answer.status < 400:
                    raise ProtocolError(answer.url, f"an answer with status {answer.status}")
                raise answer.problem()
            except ProblemError as error:
                if not error.retryable or (final is not None and final(error)):
                    raise
                asked_s, failure = error.retry_after, error
                refusal = error
            except ConnectionLost as error:
                # An attempt that had less than its time says nothing of the server, whose last word was another.
                failure = refusal if refusal is not None and left_s < whole_s else error
            wait_s = backoff.next_s(asked_s)
            if loop.time() + wait_s >= ends:
                raise failure
            if self._on_retry is not None:
                self._on_retry(failure)
            await asyncio.sleep(wait_s)

    async def _attempt(self, method: str, path: str, timeout_s: float, **parts: Any) -> Answer:
        try:
            # The library's own timeout is per read: an answer that trickles in would never end.
            async with asyncio.timeout(timeout_s):
                return await self._transport.request(method, path, timeout_s=timeout_s, **parts)
        except TimeoutError as error:
            raise ConnectionLost(self._transport.url + path, f"no answer within {timeout_s:.3g} s") from error
