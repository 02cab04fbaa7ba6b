"""The commands: the client's own, and those that installed packages add."""

from importlib.metadata import entry_points
from typing import Any

import typer
from typer.core import TyperGroup

from sessioncast.cli import exec as exec_command
from sessioncast.cli import export as export_command
from sessioncast.cli import list as list_command
from sessioncast.cli import spools
from sessioncast.cli import start as start_command
from sessioncast.cli import tail as tail_command
from sessioncast.cli import watch as watch_command

GROUP = "sessioncast.commands"
"""Entry points of this group are functions that take the `typer.Typer` to add commands to."""


class Commands(TyperGroup):
    """Loads added commands only when one of them, or the list of all, is asked for: a server takes its time to load."""

    _added = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, None when there is none."""
        if cmd_name not in self.commands:
            self._add()
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands."""
        self._add()
        return super().list_commands(ctx)

    def _add(self) -> None:
        if self._added:
            return
        self._added = True
        for entry in entry_points(group=GROUP):
            added = typer.Typer(rich_markup_mode=None)
            try:
                entry.load()(added)
            except ImportError as error:
                # The base install has the server's files but not its libraries.
                typer.echo(
                    f"The commands of {entry.name!r} are left out: {error}.\n"
                    f"To have them: pip install 'sessioncast[{entry.name}]'",
                    err=True,
                )
                continue
            self.commands.update(typer.main.get_group(added).commands)


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="sessioncast",
        cls=Commands,
        help="Live sessions for AI-agent applications.",
        no_args_is_help=True,
        # Rich help loads a parser of Markdown first, which takes longer than all the rest.
        rich_markup_mode=None,
        # A traceback with all local variables would show tokens.
        pretty_exceptions_enable=False,
    )
    app.command("watch")(watch_command.watch)
    app.command("exec", context_settings={"allow_interspersed_args": False})(exec_command.execute)
    app.command("tail")(tail_command.tail)
    app.command("start")(start_command.start)
    app.command("list")(list_command.list_)
    app.command("export")(export_command.export)
    spool = typer.Typer(help="Output that `exec` has left on disk.", no_args_is_help=True, rich_markup_mode=None)
    spool.command("list")(spools.spool_list)
    spool.command("send")(spools.spool_send)
    app.add_typer(spool, name="spool")
    return app
