"""One HTTP request, one answer. The only file that knows the HTTP library."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx2

from sessioncast.answer import Answer, Query, problem_of
from sessioncast.credentials import Credentials, TokenSource
from sessioncast.errors import ConnectionLost, ProtocolError
from sessioncast.limits import Limits
from sessioncast.lost import Silent, Unfit, Unreachable
from sessioncast.stats import Counters
from sessioncast.streams.statuses import Statuses
from sessioncast.streams.ways import Remembered, ServerWays, TransportWish
from sessioncast_shared.filters import Filter

_EVENT_STREAM = "text/event-stream"


class ByteStream:
    """The body of an endless answer, read piece by piece: what is not read stays in the socket."""

    def __init__(self, response: httpx2.Response, counters: Counters) -> None:
        self.url = str(response.url)
        self._counters = counters
        self._response = response
        self._pieces = response.aiter_raw()

    async def read(self) -> bytes:
        """The next bytes.

        Raises:
            ConnectionLost: there are none: the answer ended, the connection broke or was silent for `idle_s`.
            Silent: the last of these.
        """
        with _translated(self.url):
            async for piece in self._pieces:
                self._counters.bytes_received += len(piece)
                return piece
        raise ConnectionLost(self.url, "the server ended the stream")

    async def aclose(self) -> None:
        """Give the connection up."""
        await self._pieces.aclose()
        await self._response.aclose()


class Transport:
    """Connections to one server, with the caller's credentials on each request.

    Attributes:
        url: base URL of the server, without a slash at its end.
        credentials: who asks.
        counters: of what is received.
    """

    def __init__(
        self,
        url: str,
        *,
        token: TokenSource | None,
        user: str | None,
        limits: Limits,
        counters: Counters | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.limits = limits
        self.credentials = Credentials(token, user, within_s=limits.attempt_s)
        self.counters = counters or Counters()
        self._remembered = Remembered(self)
        with _translated(self.url):
            self._http = httpx2.AsyncClient(
                base_url=self.url,
                # Each open stream holds a connection; a bound here would let streams starve requests.
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
            )

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> Answer:
        """Send one request once and read its answer, whatever its status.

        Raises:
            ConnectionLost: there was no answer, or not all of it.
        """
        url = self.url + path
        timeout = httpx2.Timeout(timeout_s, connect=min(timeout_s, self.limits.connect_s))
        for again in (True, False):
            own = await self.credentials.headers()
            token = self.credentials.token
            with _translated(url):
                response = await self._http.request(
                    method,
                    path,
                    params=list(query),
                    content=content,
                    headers={**own, **(headers or {})},
                    timeout=timeout,
                )
            self.counters.received(len(response.content), url)
            # Once more with a fresh token, if there is one.
            if not (again and response.status_code == 401 and await self.credentials.renew(token)):
                break
        return Answer(url, response.status_code, response.headers, response.content)

    async def stream(self, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None) -> ByteStream:
        """Open an endless event stream.

        Raises:
            ConnectionLost: there was no answer, or one of something that is no event stream.
            ProblemError: it is a refusal.
        """
        url = self.url + path
        # Compression would hold small frames back; a proxy that adds it anyway would break the parser.
        asked = {"Accept": _EVENT_STREAM, "Accept-Encoding": "identity", "Cache-Control": "no-store"}
        timeout = httpx2.Timeout(self.limits.idle_s, connect=self.limits.connect_s)
        for again in (True, False):
            own = await self.credentials.headers()
            token = self.credentials.token
            all_headers = {**asked, **own, **(headers or {})}
            request = self._http.build_request("GET", path, params=list(query), headers=all_headers, timeout=timeout)
            with _translated(url):
                response = await self._http.send(request, stream=True)
                if response.status_code == 200 and response.headers.get("content-type", "").startswith(_EVENT_STREAM):
                    return ByteStream(response, self.counters)
                try:
                    body = await response.aread() if response.status_code != 200 else b""
                finally:
                    await response.aclose()
            if not (again and response.status_code == 401 and await self.credentials.renew(token)):
                break
        if response.status_code == 200:
            raise Unfit(url, "something that is no event stream answered")
        problem = problem_of(response.status_code, response.headers, body)
        # Without a code it is a proxy's word. Who is to show a token, or to come back later, is told so all the same.
        if problem.code or problem.status == 401 or problem.retry_after is not None:
            raise problem
        raise Unfit(url, f"it was answered with status {problem.status}")

    def ways(self, project: str, wanted: Filter, wish: TransportWish, statuses: Statuses) -> ServerWays:
        """The ways of one subscription."""
        return ServerWays(self._remembered, project, wanted, wish, statuses)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._remembered.aclose()
        await self.credentials.aclose()
        await self._http.aclose()


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except httpx2.UnsupportedProtocol as error:
        raise ProtocolError(url, str(error)) from error
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise Unreachable(url, str(error) or type(error).__name__) from error
    except httpx2.ReadTimeout as error:
        raise Silent(url, str(error) or type(error).__name__) from error
    except httpx2.TransportError as error:
        raise ConnectionLost(url, str(error) or type(error).__name__) from error
    except (httpx2.InvalidURL, httpx2.HTTPError) as error:
        raise ProtocolError(url, str(error) or type(error).__name__) from error
