"""Public keys of an identity provider, read over HTTP (JWKS, RFC 7517) no more often than needed."""

import asyncio
import http.client
import time
from collections.abc import Callable

import jwt
import structlog

ALGORITHMS = ("RS256", "ES256")

_UNREADABLE = (
    jwt.PyJWTError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
    http.client.HTTPException,
)
"""Nobody there, too slow, no JSON, or JSON of another shape."""

_log = structlog.get_logger(__name__)


class KeySetAwayError(Exception):
    """The key set could not be read, so nothing can be said of a token's key."""


class KeySet:
    """Keys by id.

    At most one reading is under way, and the next one begins `min_interval_s` after the last began: tokens with
    made-up key ids cannot make a storm of it. While the provider is away the keys once read stay good.
    """

    def __init__(
        self,
        url: str,
        *,
        keep_s: float = 300,
        min_interval_s: float = 10,
        timeout_s: float = 5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=timeout_s)
        self._timeout_s = timeout_s
        self._keep_s = keep_s
        self._min_interval_s = min_interval_s
        self._clock = clock
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._attempted = float("-inf")
        self._read = float("-inf")
        self._away = False
        self._lock = asyncio.Lock()

    async def key(self, kid: str | None) -> jwt.PyJWK | None:
        """The key of that id (None: of a token that names none, if there is only one key), or None.

        Raises:
            KeySetAwayError: it is not known, and the provider cannot be asked.
        """
        if kid not in self._keys or self._clock() - self._read > self._keep_s:
            await self._refresh()
        found = self._keys.get(kid)
        if found is None and self._away:
            raise KeySetAwayError
        return found

    async def _refresh(self) -> None:
        async with self._lock:
            now = self._clock()
            if now - self._attempted < self._min_interval_s:
                return
            self._attempted = now
            try:
                async with asyncio.timeout(self._timeout_s):
                    found = await asyncio.to_thread(self._client.get_jwk_set, refresh=True)
            except _UNREADABLE as error:
                self._away = True
                _log.warning("key set away", error=str(error) or type(error).__name__)
                return
            usable = [
                key for key in found.keys if key.algorithm_name in ALGORITHMS and key.public_key_use in (None, "sig")
            ]
            self._keys = {key.key_id: key for key in usable}
            if len(usable) == 1:
                self._keys[None] = usable[0]
            else:
                self._keys.pop(None, None)
            self._read = now
            self._away = False
