"""`sessioncast start`: start a session, or find the one that is live."""

from typing import TYPE_CHECKING, Annotated

import typer

from sessioncast.cli.completing import complete_phase, complete_task
from sessioncast.cli.connect import DEFAULT_URL, REFUSED, Json, Project, Token, Url, Wait, emit, perform, say

if TYPE_CHECKING:  # loaded by the command that runs
    from sessioncast.client import Client
    from sessioncast.confirmation import ModelChangeRequiresConfirmation


def start(
    task: Annotated[
        str, typer.Argument(help="Task id, or a title: created when there is none.", autocompletion=complete_task)
    ],
    phase: Annotated[str, typer.Argument(help="plan, run or verify.", autocompletion=complete_phase)],
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    *,
    model_version: Annotated[str | None, typer.Option("--model-version", help="Version of the model.")] = None,
    agent: Annotated[list[str] | None, typer.Option("--agent", help="Name of an agent; may be repeated.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="In the phase's slot for debugging.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="A fresh session, also where one of the same model is live.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a session that is still active, unasked.")
    ] = False,
    no_input: Annotated[
        bool, typer.Option("--no-input", help="Never ask on the terminal: an active session is left as it is.")
    ] = False,
    project: Project = "default",
    as_json: Json = False,
    wait: Wait = 30.0,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Start a session of a task's phase, and write its id. What became of it is told on stderr."""
    from sessioncast_shared.phases import parse_phase

    try:
        phase = parse_phase(phase)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="PHASE") from error

    async def work(client: "Client") -> int:
        from sessioncast.cli.holding import ActiveSessionError, find_task, settle
        from sessioncast.cli.prompt import ask_to_replace, can_ask
        from sessioncast.confirmation import ModelChangeRequiresConfirmation

        ask = not no_input and can_ask()

        async def decide(refusal: "ModelChangeRequiresConfirmation") -> bool:
            return replace or (ask and await ask_to_replace(refusal))

        wished = {"name": model} | ({} if model_version is None else {"version": model_version})
        agents = agent[0] if agent and len(agent) == 1 else agent
        try:
            try:
                outcome = await client.sessions.start(
                    await find_task(client, project, task),
                    phase,
                    wished,
                    agent=agents,
                    debug=debug,
                    on_conflict="restart" if restart else "ask",
                )
            except ModelChangeRequiresConfirmation as refusal:
                outcome = await settle(refusal, decide=decide)
        except ActiveSessionError as error:
            existing = error.refusal.existing
            hint = "is left as it is" if ask else f"({existing.status}) is active; --replace to replace it"
            say(f"session {existing.id} {hint}")
            return REFUSED
        say(outcome.message or outcome.outcome)
        emit(outcome.model_dump(mode="json"), outcome.session.id, as_json=as_json)
        return 0

    perform(work, url, token, wait_s=wait)
