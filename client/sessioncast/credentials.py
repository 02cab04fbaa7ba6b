"""Who asks: a token that stays, or one that is renewed."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from sessioncast.errors import ConnectionLost
from sessioncast.identity import expiry_of

TokenSource = str | Callable[[], str | Awaitable[str]]
"""A bearer token, or a function, async or not, that gives a fresh one each time it is called."""


class Credentials:
    """The headers of requests.

    Attributes:
        user: whom to act for; None: nobody is named.
    """

    def __init__(self, source: TokenSource | None, user: str | None, *, within_s: float = 30.0) -> None:
        """Nothing is asked yet; the source is given up, and may be asked again, after `within_s`."""
        self.user = user
        self._within_s = within_s
        self._refused = False
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
        """A token that is not the refused one, asked for once however many want it; None: there is no other.

        Raises:
            ConnectionLost: the source gave none in time, or the client was closed.
        """
        if not callable(self._source):
            return None
        if self._token is not None and self._token != refused:
            return self._token  # somebody else has renewed it meanwhile
        if self._asking is None:
            self._asking = asyncio.ensure_future(_asked(self._source, self._within_s))
            self._asking.add_done_callback(self._asked)
        asking = self._asking
        try:
            token = await asyncio.shield(asking)
        except asyncio.CancelledError:
            if asking.cancelled():  # and not who asked
                raise ConnectionLost("token", "the client was closed") from None
            raise
        return None if token == refused else token

    def refuse(self, token: str | None) -> bool:
        """A stream was refused with this token: whether there may be another. Of two in a row there is none."""
        if not callable(self._source):
            return False
        if self._token == token:
            if self._refused:
                return False
            self._refused, self._token = True, None
        return True

    def accepted(self) -> None:
        """The present token has opened a stream."""
        self._refused = False

    @property
    def token(self) -> str | None:
        """The present token."""
        return self._token

    async def aclose(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def _asked(self, asking: "asyncio.Future[str]") -> None:
        self._asking = None
        if not asking.cancelled() and asking.exception() is None:
            self._token = asking.result()


async def _asked(source: Callable[[], str | Awaitable[str]], within_s: float) -> str:
    found = source()
    if not inspect.isawaitable(found):
        return found
    try:
        async with asyncio.timeout(within_s) as deadline:
            return await found
    except TimeoutError as error:
        if not deadline.expired():
            raise  # the source's own
        raise ConnectionLost("token", f"none was given within {within_s:g} s") from error
