"""`sessioncast watch`: see a project, a task or a session live."""

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import typer

from sessioncast.cli.board import Board
from sessioncast.cli.connect import DEFAULT_URL, Token, Url, connect, explain, say
from sessioncast.cli.output import OutputFollower
from sessioncast.cli.screen import Screen, make_screen, silence_stdout
from sessioncast.client import Client
from sessioncast.errors import SessioncastError
from sessioncast.streams.items import Item, Opened, Resync
from sessioncast.streams.subscription import Subscription
from sessioncast_shared.events import Kind
from sessioncast_shared.filters import BadFilterError
from sessioncast_shared.resources import OutputChunk

_REFRESH_S = 0.25


def watch(
    project: Annotated[str, typer.Argument(help="Project id.")] = "default",
    *,
    project_option: Annotated[str | None, typer.Option("--project", "-p", help="The same.")] = None,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Only this task, with its output.")] = None,
    session: Annotated[str | None, typer.Option("--session", "-s", help="Only this session, with its output.")] = None,
    output_only: Annotated[bool, typer.Option("--output-only", help="Nothing but the output's text.")] = False,
    until_done: Annotated[bool, typer.Option("--until-done", help="Leave when all of them have ended.")] = False,
    transport: Annotated[Literal["sse", "websocket"], typer.Option(help="How to listen.")] = "sse",
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Show tasks and live sessions as they change, and the output of the task or session that is named.

    On a terminal a table; into a pipe one line per change, and the output as it is.
    """
    if (output_only or until_done) and not (task or session):
        raise typer.BadParameter("needs --task or --session", param_hint="--output-only, --until-done")
    follow = bool(task or session)
    board = Board()

    async def run() -> int:
        main = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, lambda: main and main.cancel())
        async with connect(url, token) as client:
            stream = client.subscribe(
                project_option or project,
                task=task or (),
                session=session or (),
                kinds=None if follow else (Kind.TASK, Kind.SESSION),
                transport=transport,
                on_state=lambda state: screen.connection(state, str(stream.last_error or "")),
            )
            screen = make_screen(board, output_only=output_only)
            refreshing = asyncio.create_task(_refresh(screen))
            try:
                await _follow(client, stream, board, screen, output=follow, until_done=until_done)
            except SessioncastError as error:
                say(explain(error))
                return 1
            finally:
                refreshing.cancel()
                screen.close()
        return 0

    try:
        code = asyncio.run(run())
    except BadFilterError as error:
        raise typer.BadParameter(str(error)) from error
    except asyncio.CancelledError:
        code = 130
    except BrokenPipeError:
        silence_stdout()
        code = 0
    raise typer.Exit(code)


async def _follow(
    client: Client, stream: Subscription, board: Board, screen: Screen, *, output: bool, until_done: bool
) -> None:
    def fetch(session: str, after: int) -> AsyncIterator[OutputChunk]:
        return client.sessions.read_output(session, after=after)

    follower = OutputFollower(fetch)
    async with stream:
        async for item in stream:
            _tell_missed(screen, item)
            screen.changed(board.take(item))
            if output:
                async for session, chunk in follower.take(item):
                    screen.output(session, chunk)
            if until_done and board.done:
                return


def _tell_missed(screen: Screen, item: Item) -> None:
    match item:
        case Opened(state="gap", reason=reason):
            screen.missed(f"events were missed ({reason or 'no longer kept'})")
        case Resync(reason=reason):
            screen.missed(f"fell behind ({reason})")


async def _refresh(screen: Screen) -> None:
    while True:
        screen.refresh()
        await asyncio.sleep(_REFRESH_S)
