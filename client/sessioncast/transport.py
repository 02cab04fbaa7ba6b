"""One HTTP request, one answer. The only file that knows the HTTP library."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx2

from sessioncast.answer import Answer, Query, problem_of
from sessioncast.errors import ConnectionLost, ProtocolError
from sessioncast.limits import Limits

_EVENT_STREAM = "text/event-stream"


class ByteStream:
    """The body of an endless answer, read piece by piece: what is not read stays in the socket."""

    def __init__(self, response: httpx2.Response) -> None:
        self.url = str(response.url)
        self._response = response
        self._pieces = response.aiter_raw()

    async def read(self) -> bytes:
        """The next bytes.

        Raises:
            ConnectionLost: there are none: the answer ended, the connection broke or was silent for `idle_s`.
        """
        with _translated(self.url):
            async for piece in self._pieces:
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
        credentials: headers that say who asks.
    """

    def __init__(self, url: str, *, token: str | None, user: str | None, limits: Limits) -> None:
        self.url = url.rstrip("/")
        self.limits = limits
        self.credentials: dict[str, str] = {}
        if token:
            self.credentials["Authorization"] = f"Bearer {token}"
        if user:
            self.credentials["X-User"] = user
        with _translated(self.url):
            self._http = httpx2.AsyncClient(
                base_url=self.url,
                headers=self.credentials,
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
        with _translated(url):
            response = await self._http.request(
                method, path, params=list(query), content=content, headers=headers, timeout=timeout
            )
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
        request = self._http.build_request(
            "GET", path, params=list(query), headers={**asked, **(headers or {})}, timeout=timeout
        )
        with _translated(url):
            response = await self._http.send(request, stream=True)
            if response.status_code == 200 and response.headers.get("content-type", "").startswith(_EVENT_STREAM):
                return ByteStream(response)
            try:
                body = await response.aread() if response.status_code != 200 else b""
            finally:
                await response.aclose()
        if response.status_code == 200:
            raise ConnectionLost(url, "something that is no event stream answered")
        raise problem_of(response.status_code, response.headers, body)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except httpx2.UnsupportedProtocol as error:
        raise ProtocolError(url, str(error)) from error
    except httpx2.TransportError as error:
        raise ConnectionLost(url, str(error) or type(error).__name__) from error
    except (httpx2.InvalidURL, httpx2.HTTPError) as error:
        raise ProtocolError(url, str(error) or type(error).__name__) from error
