"""`sessioncast list`: tasks, or live sessions."""

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sessioncast.cli.completing import complete_task
from sessioncast.cli.connect import DEFAULT_URL, Json, Project, Token, Url, Wait, emit, perform

if TYPE_CHECKING:  # loaded by the command that runs
    from sessioncast.client import Client


def list_(
    what: Annotated[Literal["tasks", "sessions"], typer.Argument(help="What to list.")] = "tasks",
    *,
    project: Project = "default",
    task: Annotated[
        str | None,
        typer.Option("--task", "-t", help="Only this task's sessions, by its id.", autocompletion=complete_task),
    ] = None,
    as_json: Json = False,
    wait: Wait = 30.0,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """List a project's tasks or live sessions: on a terminal as a table, into a pipe by tabs, or as JSON."""
    if task and what == "tasks":
        raise typer.BadParameter("is for sessions", param_hint="--task")

    async def tasks(client: "Client") -> int:
        from sessioncast.cli.present import all_tasks

        rows: list[tuple[str, ...]] = []
        async for one in all_tasks(client, project):
            # One by one: a reader who has seen enough may leave.
            row = (one.id, one.title, one.milestone or "", str(one.updated_at))
            _told(one.model_dump(mode="json"), row, rows, as_json=as_json)
        _table(("task", "title", "milestone", "changed"), rows)
        return 0

    async def sessions(client: "Client") -> int:
        from sessioncast.cli.board import model_of, phase_of
        from sessioncast.cli.present import live_sessions

        rows: list[tuple[str, ...]] = []
        for one in await (client.sessions.list(task) if task else live_sessions(client, project)):
            row = (one.id, one.task_id, phase_of(one), str(one.status), model_of(one), one.user, str(one.updated_at))
            _told(one.model_dump(mode="json"), row, rows, as_json=as_json)
        _table(("session", "task", "phase", "status", "model", "user", "changed"), rows)
        return 0

    perform(tasks if what == "tasks" else sessions, url, token, wait_s=wait)


def _told(document: dict[str, object], row: tuple[str, ...], rows: list[tuple[str, ...]], *, as_json: bool) -> None:
    """Into a pipe at once; for a terminal kept, until it is known how wide the columns are."""
    from sessioncast.cli.prompt import harmless

    row = tuple(harmless(" ".join(cell.split())) for cell in row)
    if as_json or not sys.stdout.isatty():
        emit(document, "\t".join(row), as_json=as_json)
    else:
        rows.append(row)


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """As wide as it is: an id that was cut, or broken, is none, and it is what the next command is given."""
    if not rows:
        return
    from rich.cells import cell_len, set_cell_size

    widths = [max(map(cell_len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (tuple(map(str.upper, columns)), *rows):
        cells = [set_cell_size(cell, width) for cell, width in zip(row, widths, strict=True)]
        emit({}, "  ".join(cells).rstrip(), as_json=False)
