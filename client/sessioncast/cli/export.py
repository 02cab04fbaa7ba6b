"""`sessioncast export`: everything that is kept of a session, as one document."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sessioncast.cli.completing import complete_session
from sessioncast.cli.connect import DEFAULT_URL, REFUSED, Token, Url, Wait, emit, perform, say

if TYPE_CHECKING:  # loaded by the command that runs
    from sessioncast.client import Client


def export(
    session: Annotated[str, typer.Argument(help="Session id.", autocompletion=complete_session)],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write, instead of stdout.", dir_okay=False)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --output: tell what was written as JSON. The document always is.")
    ] = False,
    wait: Wait = 30.0,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Write everything that is kept of a session as one JSON document: also of one that was deleted."""

    async def work(client: "Client") -> int:
        from sessioncast.cli.prompt import save

        document = await client.sessions.export(session)
        if output is None:
            emit(document, "", as_json=True)
            return 0
        try:
            save(output, document)
        except OSError as error:
            say(f"not exported: {error}")
            return REFUSED
        told = {"session_id": session, "file": str(output), "bytes": output.stat().st_size}
        if as_json:
            emit(told, "", as_json=True)
        else:
            say(f"exported to {output}")
        return 0

    perform(work, url, token, wait_s=wait)
