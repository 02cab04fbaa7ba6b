"""`sessioncast watch`: see a project, a task or a session live."""

from typing import Annotated, Literal

import typer

from sessioncast.cli.completing import complete_session, complete_task
from sessioncast.cli.connect import DEFAULT_URL, Json, Token, Url, perform


def watch(
    project: Annotated[str, typer.Argument(help="Project id.")] = "default",
    *,
    project_option: Annotated[str | None, typer.Option("--project", "-p", help="The same.")] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", "-t", help="Only this task, with its output.", autocompletion=complete_task),
    ] = None,
    session: Annotated[
        str | None,
        typer.Option("--session", "-s", help="Only this session, with its output.", autocompletion=complete_session),
    ] = None,
    output_only: Annotated[bool, typer.Option("--output-only", help="Nothing but the output's text.")] = False,
    until_done: Annotated[bool, typer.Option("--until-done", help="Leave when all of them have ended.")] = False,
    as_json: Json = False,
    transport: Annotated[
        Literal["auto", "websocket", "sse", "poll"], typer.Option(help="How to listen; auto: by the best that works.")
    ] = "auto",
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Show tasks and live sessions as they change, and the output of the task or session that is named.

    On a terminal a table; into a pipe one line per change, and the output as it is, or JSON.
    """
    from sessioncast.cli.watching import Watching
    from sessioncast_shared.filters import BadFilterError

    if (output_only or until_done) and not (task or session):
        raise typer.BadParameter("needs --task or --session", param_hint="--output-only, --until-done")
    if output_only and as_json:
        raise typer.BadParameter("is text, not JSON", param_hint="--output-only")
    watching = Watching(
        project_option or project,
        task=task,
        session=session,
        output_only=output_only,
        until_done=until_done,
        as_json=as_json,
        transport=transport,
    )
    try:
        perform(watching.run, url, token, waits_told="none")
    except BadFilterError as error:
        raise typer.BadParameter(str(error)) from error
