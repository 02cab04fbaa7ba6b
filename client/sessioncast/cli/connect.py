"""What all commands share: which server, and how its refusals are told."""

import sys
from typing import Annotated

import typer

from sessioncast.client import Client
from sessioncast.errors import ConnectionLost, ProblemError, SessioncastError, Unauthenticated
from sessioncast.limits import Limits
from sessioncast.sender import OnRetry

Url = Annotated[str, typer.Option("--url", envvar="SESSIONCAST_URL", help="Base URL of the server.")]
Token = Annotated[
    str | None,
    # Not meant to be typed: arguments are seen by everybody on the machine.
    typer.Option("--token", envvar="SESSIONCAST_TOKEN", show_envvar=True, help="Bearer token; better in the variable."),
]
Project = Annotated[str, typer.Option("--project", "-p", help="Project id.")]

DEFAULT_URL = "http://127.0.0.1:8080"


def connect(url: str, token: str | None, *, on_retry: OnRetry | None = None, limits: Limits | None = None) -> Client:
    """A client of the server that the options name."""
    return Client(url, token, on_retry=on_retry, limits=limits)


def say(text: str) -> None:
    """Tell the person, without disturbing what goes to stdout."""
    print(f"sessioncast: {text}", file=sys.stderr, flush=True)  # noqa: T201  a command's own voice


def explain(error: SessioncastError) -> str:
    """One line for a person."""
    match error:
        case Unauthenticated():
            return f"the server wants a valid token (SESSIONCAST_TOKEN): {error.detail}"
        case ProblemError(request_id=request_id) if request_id:
            return f"{error.detail or error} ({error.code}, request {request_id})"
        case ProblemError():
            return f"{error.detail or 'refused'} (status {error.status})"
        case ConnectionLost():
            return f"no answer from {error.url}: {error.reason}"
    return str(error)
