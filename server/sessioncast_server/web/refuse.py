"""Problems as answers of whole ASGI applications: to a request, and to a WebSocket that is not accepted."""

from starlette.types import Message, Receive, Scope, Send

from sessioncast_server.problems import Problem, not_found
from sessioncast_server.web.requestid import request_id_of
from sessioncast_shared.codes import Code


async def refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the problem.

    A WebSocket is refused before it is accepted; a server that cannot send a status of ours there answers 403.
    """
    response = problem.response(request_id_of(scope))
    if scope["type"] != "websocket":
        await response(scope, receive, send)
    elif "websocket.http.response" in scope.get("extensions", {}):

        async def deny(message: Message) -> None:
            await send({**message, "type": f"websocket.{message['type']}"})

        await response({**scope, "type": "http", "method": "GET"}, receive, deny)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": problem.code})


async def nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    """The application for paths that no route knows."""
    await refuse(not_found(), scope, receive, send)


def method_not_allowed(method: str) -> Problem:
    """405; the Allow header is the caller's."""
    return Problem(405, Code.METHOD_NOT_ALLOWED, f"{method[:20]} is not for this path.")
