"""The WebSocket library: connecting, and what its exceptions mean. The only file that knows it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from sessioncast.answer import problem_of
from sessioncast.errors import ConnectionLost, ProblemError, ProtocolError
from sessioncast.limits import Limits
from sessioncast.lost import Silent, Unfit, Unreachable
from sessioncast.problems import problem_error
from sessioncast_shared.codes import Close, Code

_FINAL_CLOSES: dict[int, tuple[int, str]] = {
    Close.BAD_REQUEST: (400, Code.BAD_REQUEST),
    Close.UNAUTHENTICATED: (401, Code.UNAUTHENTICATED),
    Close.FORBIDDEN: (403, Code.FORBIDDEN),
}


class _Connect(connect):
    """Follows no redirect: our server sends none, and who does is not to be talked to in its place."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


class Wire:
    """An open WebSocket.

    Attributes:
        url: where it leads.
    """

    def __init__(self, connection: ClientConnection, url: str) -> None:
        self.url = url
        self._connection = connection

    @classmethod
    async def connect(cls, url: str, headers: Mapping[str, str], limits: Limits) -> "Wire":
        """Shake hands.

        Raises:
            Unreachable: nobody is there.
            Unfit: something answered that takes no WebSockets; a proxy, most likely.
            ProblemError: the server itself refused.
            ConnectionLost: it did not come to that.
        """
        with _translated(url, opening=True):
            connection = await _Connect(
                url,
                additional_headers=headers,
                compression=None,
                open_timeout=limits.connect_s,
                # The server's heartbeat tells that it lives; who is silent is given up by `Socket`.
                ping_interval=None,
                close_timeout=1,
                max_size=limits.frame_bytes,
            )
        return cls(connection, url)

    async def send(self, text: str) -> None:
        """Send a frame.

        Raises:
            ConnectionLost: it cannot be sent any more.
        """
        with _translated(self.url):
            await self._connection.send(text)

    async def receive(self) -> str | bytes:
        """The next frame.

        Raises:
            ConnectionLost: there are no more.
            ProblemError: the server closed it for good.
            ProtocolError: it is too long.
        """
        with _translated(self.url):
            return await self._connection.recv()

    async def aclose(self) -> None:
        """Close it. The far side has a second to say the same."""
        await self._connection.close()


def refusal(body: Mapping[str, Any]) -> ProblemError:
    """The exception for an `error` frame."""
    code = str(body.get("code", ""))
    retry_ms = body.get("retry_ms")
    retry_after = retry_ms / 1000 if isinstance(retry_ms, int | float) else None
    return problem_error(_STATUS.get(code, 400), dict(body), retry_after=retry_after)


_STATUS: dict[str, int] = {
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.TOO_LARGE: 413,
    Code.INVALID: 422,
    Code.TOO_MANY: 429,
    Code.UNEXPECTED: 500,
    Code.UNAVAILABLE: 503,
    Code.PUSH_DISABLED: 503,
}


@contextmanager
def _translated(url: str, *, opening: bool = False) -> Iterator[None]:
    try:
        yield
    except InvalidStatus as error:
        response = error.response
        problem = problem_of(response.status_code, response.headers, bytes(response.body or b""))
        if problem.code:
            raise problem from error
        raise Unfit(url, f"the handshake was answered with status {response.status_code}") from error
    except ConnectionClosed as error:
        code, reason = (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "the connection broke")
        if code in _FINAL_CLOSES:
            status, name = _FINAL_CLOSES[code]
            raise problem_error(status, {"code": name, "detail": reason}) from error
        if error.sent is not None and error.sent.code == 1009:
            raise ProtocolError(url, "a message that is too long") from error
        raise ConnectionLost(url, f"closed with {code} {reason}".rstrip()) from error
    except InvalidHandshake as error:
        raise Unfit(url, str(error)) from error
    except WebSocketException as error:
        raise ProtocolError(url, str(error)) from error
    except TimeoutError as error:
        raise (Silent if opening else ConnectionLost)(url, "nothing was heard") from error
    except ConnectionError as error:
        raise (Unreachable if opening else ConnectionLost)(url, str(error)) from error
    except OSError as error:
        raise Unreachable(url, str(error)) from error
