"""The endpoint table: what the dispatch obeys, the router knows and OpenAPI shows is one list."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import UUID

import structlog
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import Lifespan, Receive, Scope, Send

from sessioncast_server.auth.principal import NOBODY, Principal
from sessioncast_server.auth.tokens import Authenticator
from sessioncast_server.problems import Problem, not_found, problem_of
from sessioncast_server.web.inputs import (
    Limits,
    check_content_type,
    list_parameters,
    one_of_each,
    parse_body,
    parse_query,
    read_body,
)
from sessioncast_server.web.refuse import method_not_allowed, nothing_here
from sessioncast_server.web.requestid import request_id_of
from sessioncast_shared.codes import Code
from sessioncast_shared.filters import is_uuid

UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})

_REST = ":path}"
"""How the path of an endpoint ends whose last parameter may hold slashes."""

_log = structlog.get_logger(__name__)


class Call:
    """A request that was authenticated, authorised and parsed.

    Attributes:
        path: parameters of the path, as they came.
        query, body: instances of the endpoint's models; None where it has none.
        raw: the body's bytes, empty for safe methods.
    """

    __slots__ = ("body", "path", "principal", "query", "raw", "request", "request_id")

    def __init__(self, request: Request, principal: Principal, request_id: str) -> None:
        self.request = request
        self.principal = principal
        self.request_id = request_id
        self.path: dict[str, str] = request.scope.get("path_params", {})
        self.query: Any = None
        self.body: Any = None
        self.raw = b""

    def uuid(self, name: str) -> str:
        """The id in the path, canonical.

        Raises:
            Problem: 404, as for an id that nothing has.
        """
        text = self.path[name]
        if not is_uuid(text):
            raise not_found()
        return str(UUID(text))

    def text(self, name: str) -> str:
        """A parameter of the path that is a text of the caller's own.

        Raises:
            Problem: 400, when the path is not UTF-8: servers put U+FFFD there, and two names would be one.
        """
        try:
            unquote_to_bytes(self.request.scope.get("raw_path", b"")).decode()
        except UnicodeDecodeError:
            raise Problem(400, Code.BAD_UNICODE, "The path is not UTF-8.") from None
        return self.path[name]

    def project(self, name: str = "project_id") -> str:
        """The project id in the path.

        Raises:
            Problem: 404, when the project does not exist for the principal.
        """
        if not self.principal.may_see(self.path[name]):
            raise not_found()
        return self.path[name]


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    Attributes:
        path: with parameters in braces, from the root: `/v1/tasks/{task_id}`. The last one may be `{name:path}`: it
            may hold slashes, as they are or encoded, and be empty.
        scope: right that is needed, None for none.
        body: model of the request; forbids extra fields. None: nothing may be sent.
        query: model of the query parameters; forbids extra ones. None: there are none.
        answers: model by status, None for an answer without a body.
        tag: heading in the documentation.
        headers: meaning by name, of request headers that the handler reads.
        public: needs no authentication.
        head: whether HEAD is answered by the handler of GET; not for streams, which would never end.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    scope: str | None = None
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answers: Mapping[int, Any] = field(default_factory=dict)
    tag: str = "other"
    headers: Mapping[str, str] = field(default_factory=dict)
    public: bool = False
    head: bool = True

    def __post_init__(self) -> None:
        for model in (self.body, self.query):
            if model is not None and model.model_config.get("extra") != "forbid":
                raise TypeError(f"{model.__name__} must forbid extra fields: {self.method} {self.path}")
        if ":" in self.path.removesuffix(_REST):
            raise TypeError(f"only the last parameter may hold slashes: {self.method} {self.path}")

    @property
    def template(self) -> str:
        """The path as it is shown: parameters in braces, nothing else."""
        return template_of(self.path)


def template_of(path: str) -> str:
    """A path of the table as it is shown."""
    return path.replace(_REST, "}")


def routes(endpoints: Iterable[Endpoint], *, authenticator: Authenticator, limits: Limits) -> list[Route]:
    """One route per path, in the order of the table.

    Raises:
        ValueError: a method of a path stands in the table twice.
    """
    paths: dict[str, dict[str, _Dispatch]] = {}
    for endpoint in endpoints:
        methods = paths.setdefault(endpoint.path, {})
        dispatch = _Dispatch(endpoint, authenticator, limits)
        for method in ("GET", "HEAD") if endpoint.method == "GET" and endpoint.head else (endpoint.method,):
            if method in methods:
                raise ValueError(f"{method} {endpoint.path} stands in the table twice")
            methods[method] = dispatch
    return [_route(path, methods) for path, methods in paths.items()]


def _route(path: str, methods: Mapping[str, "_Dispatch"]) -> Route:
    route = Route(path, _Methods(path, methods), name=path)
    if path.endswith(_REST):
        # Starlette's `.*` stops at a line feed, and at the end drops it.
        route.path_regex = re.compile(route.path_regex.pattern, re.DOTALL)
    return route


def router(all_routes: Iterable[BaseRoute], lifespan: Lifespan[Any] | None = None) -> Router:
    """A router that answers unknown paths with a problem and redirects nowhere."""
    return Router(list(all_routes), redirect_slashes=False, default=nothing_here, lifespan=lifespan)


class _Methods:
    """All methods of one path, so that 405 can name those there are."""

    def __init__(self, path: str, methods: Mapping[str, "_Dispatch"]) -> None:
        self._template = template_of(path)
        self._methods = methods
        # How many parts of the path, split at slashes, must not hold an encoded one.
        self._parts = path.count("/") if path.endswith(_REST) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path", b"").lower()
        if b"%2f" in raw and any(b"%2f" in part for part in raw.split(b"/")[: self._parts]):
            await nothing_here(scope, receive, send)  # no id has a slash: decoded, it would be another path
            return
        scope.setdefault("state", {})["template"] = self._template
        dispatch = self._methods.get(scope["method"])
        if dispatch is not None:
            await dispatch(scope, receive, send)
            return
        response = method_not_allowed(scope["method"]).response(request_id_of(scope))
        response.headers["Allow"] = ", ".join(sorted(self._methods))
        await response(scope, receive, send)


class _Dispatch:
    def __init__(self, endpoint: Endpoint, authenticator: Authenticator, limits: Limits) -> None:
        self._endpoint = endpoint
        self._authenticator = authenticator
        self._limits = limits
        self._lists = list_parameters(endpoint.query)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = request_id_of(scope)
        try:
            scope["headers"] = one_of_each(scope["headers"])
            call = await self._call(Request(scope, receive, send), request_id)
            response = await self._endpoint.handler(call)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001  the one place where any failure becomes an answer
            response = failure(error, request_id)
        await response(scope, receive, send)

    async def _call(self, request: Request, request_id: str) -> Call:
        endpoint = self._endpoint
        principal = NOBODY if endpoint.public else await self._authenticator.of_headers(request.headers)
        if endpoint.scope is not None:
            principal.require(endpoint.scope)
        call = Call(request, principal, request_id)
        if endpoint.method in UNSAFE:
            check_content_type(request.headers)
            call.raw = await read_body(request.headers, request.receive, self._limits)
            call.body = await parse_body(call.raw, endpoint.body, self._limits)
        call.query = parse_query(request.scope.get("query_string", b""), endpoint.query, self._lists)
        return call


def failure(error: Exception, request_id: str) -> Response:
    """The answer that stands for an exception; one that nobody foresaw is logged with its traceback."""
    problem = problem_of(error)
    known = {"request_id": request_id, "status": problem.status, "code": problem.code, "error": str(error)}
    if problem.status == 500:
        _log.error("request failed", **known, exc_info=error)
    elif problem.status > 500:
        # A store that is away says so in a line: a traceback per request would bury what matters.
        _log.warning("request refused", **known)
    return problem.response(request_id)
