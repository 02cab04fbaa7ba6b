"""Who asks: a token that stays, or one that is renewed."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from sessioncast.identity import expiry_of

TokenSource = str | Callable[[], str | Awaitable[str]]
"""A bearer token, or a function, async or not, that gives a fresh one each time it is called."""


class Credentials:
    """The headers of requests.

    Attributes:
        user: whom to act for; None: nobody is named.
    """

    def __init__(self, source: TokenSource | None, user: str | None) -> None:
        """Nothing is asked yet."""
        self.user = user
        self._source = source
        self._token = source if isinstance(source, str) else None
        self._asking: asyncio.Future[str] | None = None

    @property
    def renewable(self) -> bool:
        """Whether there may be another token than the present one."""
        return callable(self._source)

    @property
    def expires_at(self) -> float | None:
        """When the present token expires, in seconds since 1970; None: it does not say, or there is none."""
        return None if self._token is None else expiry_of(self._token)

    async def headers(self) -> dict[str, str]:
        """What says who asks; the source is asked for the first token. What it raises is raised."""
        if self._token is None and self.renewable:
            await self.renew(None)
        headers = {}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if self.user:
            headers["X-User"] = self.user
        return headers

    async def renew(self, refused: str | None) -> str | None:
        """A token that is not the refused one, asked for once however many want it; None: there is no other."""
        if not callable(self._source):
            return None
        if self._token is not None and self._token != refused:
            return self._token  # somebody else has renewed it meanwhile
        if self._asking is None:
            self._asking = asyncio.ensure_future(_asked(self._source))
            self._asking.add_done_callback(self._asked)
        token = await asyncio.shield(self._asking)
        return None if token == refused else token

    @property
    def token(self) -> str | None:
        """The present token."""
        return self._token

    def _asked(self, asking: "asyncio.Future[str]") -> None:
        self._asking = None
        if not asking.cancelled() and asking.exception() is None:
            self._token = asking.result()


async def _asked(source: Callable[[], str | Awaitable[str]]) -> str:
    found = source()
    return await found if inspect.isawaitable(found) else found
