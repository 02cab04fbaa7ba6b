"""What all commands share: which server, how it is asked, and how its refusals are told."""

import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

if TYPE_CHECKING:  # loaded by the commands that ask a server
    from sessioncast.client import Client
    from sessioncast.errors import SessioncastError
    from sessioncast.limits import Limits
    from sessioncast.sender import OnRetry

Url = Annotated[str, typer.Option("--url", envvar="SESSIONCAST_URL", help="Base URL of the server.")]
Token = Annotated[
    str | None,
    # Not meant to be typed: arguments are seen by everybody on the machine.
    typer.Option("--token", envvar="SESSIONCAST_TOKEN", show_envvar=True, help="Bearer token; better in the variable."),
]
Project = Annotated[str, typer.Option("--project", "-p", help="Project id.")]
Json = Annotated[bool, typer.Option("--json", help="JSON, one object a line.")]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds that a server which is away is waited for.")]

DEFAULT_URL = "http://127.0.0.1:8080"

OK, REFUSED, USAGE, NO_ANSWER, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes; `exec` has its command's, and those of `execution`."""


def connect(
    url: str, token: str | None, *, on_retry: "OnRetry | None" = None, limits: "Limits | None" = None
) -> "Client":
    """A client of the server that the options name.

    Raises:
        BadParameter: the URL is none of a server.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise typer.BadParameter(f"{url[:60]!r} does not begin with http:// or https://", param_hint="--url")
    from sessioncast.client import Client

    return Client(url, token, on_retry=on_retry, limits=limits)


def perform(
    work: "Callable[[Client], Awaitable[int]]",
    url: str,
    token: str | None,
    *,
    wait_s: float | None = None,
    waits_told: Literal["all", "reasons", "none"] = "all",
) -> NoReturn:
    """Do a command's work with a client, and leave with its exit code; what goes wrong is told in a line.

    Args:
        wait_s: deadline of each request, instead of the client's own.
        waits_told: of waits that take long: that they do, and why; only why; or neither.
    """
    import asyncio
    import signal

    from sessioncast.cli.patience import Patience
    from sessioncast.cli.reader import until_gone
    from sessioncast.errors import ConnectionLost, SessioncastError
    from sessioncast.limits import Limits

    async def run() -> int:
        main = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # not on Windows, where Ctrl-C is an exception
                asyncio.get_running_loop().add_signal_handler(number, lambda: main and main.cancel())
        gone = asyncio.create_task(until_gone())
        gone.add_done_callback(lambda done: None if done.cancelled() or main is None else main.cancel())
        patience = Patience(reasons_only=waits_told == "reasons")
        limits = Limits() if wait_s is None else Limits(deadline_s=max(wait_s, 0.1))
        try:
            async with connect(url, token, on_retry=patience.retrying, limits=limits) as client:
                if waits_told != "none":
                    patience.start()
                try:
                    return await work(client)
                finally:
                    patience.stop()
        except ConnectionLost as error:
            say(explain(error))
            return NO_ANSWER
        except SessioncastError as error:
            say(explain(error))
            return REFUSED
        except asyncio.CancelledError:
            if gone.done():
                raise BrokenPipeError from None
            raise
        finally:
            gone.cancel()

    try:
        code = asyncio.run(run())
    except (asyncio.CancelledError, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:
        silence_stdout()
        code = OK
    except OSError as error:
        say(f"cannot write: {error}")
        silence_stdout()
        code = REFUSED
    raise typer.Exit(code)


def emit(told: Mapping[str, Any], line: str, *, as_json: bool) -> None:
    """Write one thing to stdout, for programs or for people; it is there when this returns."""
    text = json.dumps(told, ensure_ascii=False) if as_json else line
    # Bytes, so that no newline is translated and no locale is asked.
    sys.stdout.buffer.write(f"{text}\n".encode())
    sys.stdout.buffer.flush()


def silence_stdout() -> None:
    """After a broken pipe: keep the interpreter from stumbling over what is still in its buffer."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str) -> None:
    """Tell the person, without disturbing what goes to stdout."""
    print(f"sessioncast: {text}", file=sys.stderr, end="\r\n" if _raw() else "\n", flush=True)  # noqa: T201  a command's own voice


def explain(error: "SessioncastError") -> str:
    """One line for a person."""
    from sessioncast.errors import ConnectionLost, ProblemError, Unauthenticated

    match error:
        case Unauthenticated():
            return f"the server wants a valid token (SESSIONCAST_TOKEN): {error.detail}"
        case ProblemError(request_id=request_id) if request_id:
            return f"{error.detail or error} ({error.code}, request {request_id})"
        case ProblemError(code=code) if code:
            return f"{error.detail or error} ({code})"
        case ProblemError():
            return f"{error.detail or 'refused'} (status {error.status})"
        case ConnectionLost():
            return f"no answer from {error.url}: {error.reason}"
    return str(error)


def _raw() -> bool:
    """Whether our errors go to a terminal that a command has to itself: there a newline begins no line."""
    try:
        import termios
    except ImportError:
        return False
    try:
        return not termios.tcgetattr(sys.stderr.fileno())[1] & termios.OPOST
    except (OSError, ValueError, termios.error):
        return False
