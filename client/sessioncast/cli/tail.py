"""`sessioncast tail`: one session's output, from its last lines on."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer

from sessioncast.cli.completing import complete_session
from sessioncast.cli.connect import DEFAULT_URL, REFUSED, Json, Token, Url, Wait, emit, perform, say

if TYPE_CHECKING:  # loaded by the command that runs
    from sessioncast.client import Client
    from sessioncast_shared.resources import OutputChunk, Session


def tail(
    session: Annotated[str, typer.Argument(help="Session id.", autocompletion=complete_session)],
    *,
    lines: Annotated[
        int | None,
        typer.Option("--lines", "-n", min=0, help="Begin with the last lines; with --json, pieces. [default: all]"),
    ] = None,
    no_follow: Annotated[bool, typer.Option("--no-follow", help="Leave at the present end.")] = False,
    as_json: Json = False,
    wait: Wait = 30.0,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Write a session's output as it comes, each piece once and in order, until the session has ended."""

    async def work(client: "Client") -> int:
        from sessioncast.cli.ending import last_lines, last_pieces
        from sessioncast_shared.filters import is_uuid

        if not is_uuid(session):
            say(f"not an id: {session[:60]!r}")
            return REFUSED
        now = await client.sessions.get(session)
        shown = 0

        def show(chunk: "OutputChunk", text: str | None = None) -> None:
            nonlocal shown
            shown = chunk.seq
            _write(session, chunk, chunk.text if text is None else text, as_json=as_json)

        if lines is not None and as_json:
            shown = last_pieces(now, lines)
        elif lines is not None:
            shown = now.output_seq
            for chunk, text in await last_lines(client, now, lines):
                show(chunk, text)
        async for chunk in client.sessions.read_output(session, after=shown):
            show(chunk)
        if not no_follow and now.deleted_at is None:
            async for chunk in _following(client, now, shown):
                show(chunk)
        return 0

    perform(work, url, token, wait_s=wait, waits_told="reasons")


async def _following(client: "Client", session: "Session", shown: int) -> AsyncIterator["OutputChunk"]:
    """What comes after `shown`, until the session has ended and all it said was told."""
    from sessioncast.cli.board import Board
    from sessioncast.cli.output import OutputFollower
    from sessioncast_shared.events import Kind

    def fetch(id_: str, after: int) -> AsyncIterator["OutputChunk"]:
        return client.sessions.read_output(id_, after=after)

    board, follower = Board(), OutputFollower(fetch, {session.id: shown})
    kinds = (Kind.SESSION, Kind.OUTPUT)
    async with client.subscribe(session.project_id, session=session.id, kinds=kinds, snapshot="always") as stream:
        async for item in stream:
            board.take(item)
            async for _, chunk in follower.take(item):
                yield chunk
            if board.known and (board.done or not board.sessions):
                return


def _write(session: str, chunk: "OutputChunk", text: str, *, as_json: bool) -> None:
    if as_json:
        emit({"type": "output", "session_id": session, **chunk.model_dump(mode="json")}, "", as_json=True)
        return
    import sys

    # Bytes, so that no newline is translated and no locale is asked.
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()
