"""`sessioncast exec`: run any command as a session."""

from pathlib import Path
from typing import Annotated

import typer

from sessioncast.cli.completing import complete_phase, complete_task
from sessioncast.cli.connect import DEFAULT_URL, Project, Token, Url, say


def execute(
    command: Annotated[list[str], typer.Argument(help="The command and its arguments, after «--».")],
    *,
    task: Annotated[
        str,
        typer.Option(
            "--task", "-t", help="Task id, or a title: created when there is none.", autocompletion=complete_task
        ),
    ],
    phase: Annotated[str, typer.Option(help="plan, run or verify.", autocompletion=complete_phase)] = "run",
    project: Project = "default",
    model: Annotated[
        str | None,
        typer.Option(help="Name to run under. [default: the command's name; with --resume, the live session's]"),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a session that is still active, unasked.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the live session, and tell the command which id to resume."),
    ] = False,
    no_input: Annotated[
        bool, typer.Option("--no-input", help="Never ask on the terminal: an active session is left as it is.")
    ] = False,
    no_pty: Annotated[
        bool, typer.Option("--no-pty", help="Give the command pipes, though our output is a terminal.")
    ] = False,
    give_up_after: Annotated[
        float, typer.Option(min=0, help="Seconds that a server which is away is waited for, once somebody has to wait.")
    ] = 300.0,
    spool_limit: Annotated[
        int, typer.Option(min=0, metavar="MIB", help="Output that may wait on disk while the server is away.")
    ] = 256,
    spool_folder: Annotated[
        Path | None,
        typer.Option(envvar="SESSIONCAST_SPOOL_FOLDER", help="Where it waits. [default: in the user's state folder]"),
    ] = None,
    state_folder: Annotated[Path | None, typer.Option(envvar="XDG_STATE_HOME", hidden=True)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not tell the session's id.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Run a command as a session: its output, line by line, becomes the session's, its exit code the final status.

    Input, output, signals and the exit code are the command's own; on a terminal, so is the terminal. 125: it was not
    run.
    """
    import asyncio
    import shutil
    from pathlib import Path, PurePath

    from sessioncast.cli.child import on_terminal
    from sessioncast.cli.execution import Execution, Wish
    from sessioncast.cli.prompt import can_ask
    from sessioncast.cli.spools import spool_folder as default_folder
    from sessioncast_shared.phases import parse_phase

    try:
        phase = parse_phase(phase)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--phase") from error
    if replace and resume:
        raise typer.BadParameter("a session is replaced or resumed, not both", param_hint="--resume")
    if shutil.which(command[0]) is None:
        there = PurePath(command[0]).name != command[0] and Path(command[0]).exists()
        say(f"{command[0]}: {'it cannot be run' if there else 'no such command'}")
        raise typer.Exit(126 if there else 127)
    wish = Wish(
        project=project,
        task=task,
        phase=phase,
        model=model or PurePath(command[0]).name,
        model_named=model is not None,
        replace=replace,
        resume=resume,
        ask=not no_input and can_ask(),
        command=command,
        pty=not no_pty and on_terminal(),
        give_up_after_s=give_up_after,
        spool_folder=spool_folder or default_folder(state_folder),
        spool_bytes=spool_limit * 2**20,
        quiet=quiet,
    )
    raise typer.Exit(asyncio.run(Execution(wish).run(url, token)))
