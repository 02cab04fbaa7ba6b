"""What keeps other people's web pages out (WebSockets and, in open mode, everything else).

A browser on this machine can be made to ask a server on loopback by any page: by DNS rebinding (a foreign Host), by a
form or a fetch across origins, by a WebSocket. None of these can forge Host and Origin.
"""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from sessioncast_server.problems import Problem
from sessioncast_server.web.refuse import refuse
from sessioncast_shared.codes import Code

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_EXPOSED = ("X-Position", "ETag", "X-Request-Id", "Retry-After", "Location", "X-Push")
_ALLOWED_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "X-Project",
    "X-Request-Id",
    "X-Session-Fence",
    "X-User",
)


class OriginGuard:
    """Refuses what came from a page of another origin, before the application sees it.

    A WebSocket's Origin must be absent, of the server itself or in `allowed_origins`. In open mode the same holds for
    unsafe methods, Host must name this machine, and a request must not have been forwarded: a proxy would
    make the whole world local.
    """

    def __init__(self, app: ASGIApp, *, open_mode: bool, allowed_origins: tuple[str, ...] = ()) -> None:
        self._app = app
        self._open_mode = open_mode
        self._allowed = frozenset(origin.lower() for origin in allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Go on, or answer 403 `forbidden`."""
        if scope["type"] in ("http", "websocket"):
            reason = self._objection(scope)
            if reason is not None:
                await refuse(Problem(403, Code.FORBIDDEN, reason), scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _objection(self, scope: Scope) -> str | None:
        hosts: list[str] = []
        origins: list[str] = []
        forwarded = False
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value.decode("latin-1").strip().lower())
            elif name == b"origin":
                origins.append(value.decode("latin-1").strip().lower())
            elif name == b"forwarded" or name.startswith(b"x-forwarded-"):
                forwarded = True
        if self._open_mode:
            if forwarded:
                return "Without authentication the server takes no forwarded requests."
            if not hosts or not all(map(is_local_host, hosts)):
                return "Without authentication the server answers to localhost, 127.0.0.1 and [::1] only."
        guarded = scope["type"] == "websocket" or (self._open_mode and scope["method"] not in _SAFE)
        if guarded and not all(origin in self._allowed or _same(origin, hosts) for origin in origins):
            return "The Origin is foreign."
        return None


def cors(app: ASGIApp, allowed_origins: tuple[str, ...]) -> ASGIApp:
    """The application, usable by pages of these origins (Fetch standard, section 3.2)."""
    if not allowed_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=allowed_origins,
        allow_methods=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
        allow_headers=_ALLOWED_HEADERS,
        expose_headers=_EXPOSED,
        max_age=600,
    )


def is_local_host(host: str) -> bool:
    """Whether a Host header names this machine, with any port or none."""
    name, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdecimal():
        return name in _LOCAL_NAMES
    return host in _LOCAL_NAMES


def _same(origin: str, hosts: list[str]) -> bool:
    """Whether an Origin is the one that the page of this Host has; the scheme a proxy may have changed."""
    scheme, separator, authority = origin.partition("://")
    if not separator or scheme not in _DEFAULT_PORTS or len(hosts) != 1:
        return False
    return authority == hosts[0] or authority == hosts[0].removesuffix(_DEFAULT_PORTS[scheme])
