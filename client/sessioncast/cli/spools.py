"""`sessioncast spool`: output that was left on disk, and sending it after all."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from sessioncast.cli.connect import DEFAULT_URL, Json, Token, Url, Wait, emit, perform, say

_FOLDER = typer.Option(
    "--spool-folder", envvar="SESSIONCAST_SPOOL_FOLDER", help="Where it is. [default: in the user's state folder]"
)
_STATE = typer.Option("--state-folder", envvar="XDG_STATE_HOME", hidden=True)


def spool_folder(state: Path | None) -> Path:
    """Where spools are kept.

    Args:
        state: the user's folder for what is worth keeping over restarts (XDG Base Directory Specification 0.8).
    """
    return (state or Path.home() / ".local" / "state") / "sessioncast" / "spool"


def spool_send(
    files: Annotated[list[Path], typer.Argument(help="The files that `exec` named.")],
    *,
    wait: Wait = 30.0,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Send what `exec` could not: the rest of the output, each piece once, and the final status. Then the file goes."""
    from sessioncast.cli.spool import BadSpoolError, Spool
    from sessioncast.client import Client

    async def send(client: Client, spool: Spool) -> int:
        count = 0
        while (record := spool.first()) is not None:
            if record.texts:
                chunks = [("log", text) for text in record.texts]
                await client.sessions.append(spool.session, chunks, fence=spool.fence, key=record.key)
            if record.end is not None:
                await client.sessions.patch(spool.session, fence=spool.fence, **record.end)
            spool.sent()
            count += len(record.texts)
        return count

    async def work(client: Client) -> int:
        code = 0
        for path in files:
            try:
                spool = Spool.open(path)
            except (OSError, BadSpoolError) as error:
                say(str(error))
                code = 1
                continue
            try:
                count = await send(client, spool)
                say(f"session {spool.session} has it all: {count} pieces of output were sent")
            except BadSpoolError as error:
                say(str(error))
                code = 1
            finally:
                spool.close()
        return code

    perform(work, url, token, wait_s=wait)


def spool_list(
    *,
    as_json: Json = False,
    folder: Annotated[Path | None, _FOLDER] = None,
    state: Annotated[Path | None, _STATE] = None,
) -> None:
    """List the files that wait to be sent, oldest first; those of commands that still run are among them."""
    from sessioncast.cli.spool import SUFFIX

    found = []
    for path in (folder or spool_folder(state)).glob(f"*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # it was sent this moment
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    for _, size, path in sorted(found):
        emit({"file": str(path), "session_id": path.name[:36], "bytes": size}, f"{path}\t{size}", as_json=as_json)
