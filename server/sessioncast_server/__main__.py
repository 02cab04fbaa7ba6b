"""The server's commands; `sessioncast` finds them by its entry point."""

import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sessioncast_server.settings import Settings

_URL = typer.Option(help="sqlite:///PATH or postgresql://USER@HOST/DATABASE")


def register(app: typer.Typer) -> None:
    """Add the server's commands. What they need is imported when they run: `--help` should be quick."""
    app.command()(serve)
    app.command()(migrate)
    app.command()(token)
    app.command()(settings)
    epochs = typer.Typer(help="The lives of the logs.", no_args_is_help=True)
    epochs.command("rotate")(rotate)
    app.add_typer(epochs, name="epoch")
    jobs = typer.Typer(help="What a server does from time to time.", no_args_is_help=True)
    jobs.command("run")(run_job)
    app.add_typer(jobs, name="job")


def serve(
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="port; 0 takes any free one")] = None,
    workers: Annotated[int | None, typer.Option(help="processes; more than 1 need PostgreSQL and Redis")] = None,
    database_url: Annotated[str | None, _URL] = None,
    redis_url: Annotated[str | None, typer.Option(help="carries wake-ups between nodes")] = None,
) -> None:
    """Serve. Without settings: a SQLite file in ./data, this process alone, this machine only."""
    with _loading():
        from sessioncast_server.db.current import is_current  # noqa: PLC0415  see `register`
        from sessioncast_server.observe import logs  # noqa: PLC0415  the same

        chosen = _settings(host=host, port=port, workers=workers, database_url=database_url, redis_url=redis_url)
        logs.configure(chosen.log, chosen.log_level)
        current = is_current(chosen.database_url)
    if not current:
        _settle_schema(chosen)

    def ready(url: str) -> None:
        print(f"sessioncast is ready at {url}", flush=True)  # noqa: T201  the command's one line

    if chosen.workers > 1:
        _serve_with_workers(chosen, ready)
        return
    with _loading():
        from sessioncast_server.server import make_server  # noqa: PLC0415  and the workers' parent has no use for it
        from sessioncast_server.settings import SettingsError  # noqa: PLC0415  the same

        try:
            server = make_server(chosen, ready=ready)
        except SettingsError as error:  # what only making the parts can tell: a responder that cannot be loaded
            _fail(str(error))
    server.run()
    if server.failure is not None:
        _fail(server.failure)


def migrate(database_url: Annotated[str | None, _URL] = None) -> None:
    """Create or upgrade the schema."""
    from sessioncast_server.db.errors import DatabaseError  # noqa: PLC0415  see `register`
    from sessioncast_server.db.migrate import migrate as run  # noqa: PLC0415  the same

    chosen = _settings(database_url=database_url)
    try:
        revision = run(chosen.database_url)
    except DatabaseError as error:
        _fail(str(error))
    typer.echo(f"the schema is at {revision}")


def token(
    sub: Annotated[str, typer.Option(help="the user")],
    project: Annotated[list[str] | None, typer.Option(help="a project, or * for all; may be repeated")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="a right; may be repeated")] = None,
    ttl: Annotated[float, typer.Option(help="seconds until it expires", min=1)] = 3600,
) -> None:
    """Make a bearer token with SESSIONCAST_JWT_SECRET."""
    from sessioncast_server.auth.principal import Scope  # noqa: PLC0415  see `register`
    from sessioncast_server.auth.tokens import make_token  # noqa: PLC0415  the same

    chosen = _settings()
    if chosen.jwt_secret is None:
        _fail("SESSIONCAST_JWT_SECRET is not set; in open mode no token is needed")
    unknown = [name for name in scope or [] if name not in set(Scope)]
    if unknown:
        _fail(f"there is no scope {unknown[0]!r}; there are {', '.join(Scope)}")
    projects = project or ["*"]
    made = make_token(
        chosen.jwt_secret.get_secret_value(),
        sub=sub,
        projects="*" if "*" in projects else projects,
        scopes=scope or ["sessions:read", "sessions:write"],
        ttl_s=ttl,
    )
    typer.echo(made)


def settings(
    example: Annotated[bool, typer.Option("--example", help="print the text of .env.example instead")] = False,
) -> None:
    """List every setting with its default and meaning."""
    from sessioncast_server import settings as settings_module  # noqa: PLC0415  see `register`

    if example:
        typer.echo(settings_module.env_example(), nl=False)
        return
    for name, default, meaning in settings_module.describe():
        typer.echo(f"{name}={default}\n    {meaning}")


def rotate(database_url: Annotated[str | None, _URL] = None) -> None:
    """Give every log a new epoch: all subscribers get a fresh snapshot. For a database restored by hand."""
    from sessioncast_server.db.errors import DatabaseError  # noqa: PLC0415  see `register`
    from sessioncast_server.jobs.rotation import rotate_now  # noqa: PLC0415  the same

    try:
        count = rotate_now(_settings(database_url=database_url).database_url)
    except DatabaseError as error:
        _fail(str(error))
    typer.echo(f"{count} logs have new epochs")


def run_job(
    name: Annotated[str, typer.Argument(help="thread-cleanup: delete threads that were idle for too long")],
    database_url: Annotated[str | None, _URL] = None,
) -> None:
    """Do a job now, on the database of the settings, whether or not a server is at work on it."""
    from sessioncast_server import parts  # noqa: PLC0415  see `register`
    from sessioncast_server.db.errors import DatabaseError  # noqa: PLC0415  the same
    from sessioncast_server.jobs.by_hand import run_now  # noqa: PLC0415  the same

    chosen = _settings(database_url=database_url)
    jobs = parts.make_jobs(chosen)
    if name not in jobs:
        _fail(f"there is no job {name!r}; there is {', '.join(jobs)}")
    _settle_schema(chosen, upgrades=False)
    try:
        typer.echo(run_now(jobs[name], *parts.store_of_jobs(chosen)))
    except DatabaseError as error:
        _fail(str(error))


@contextmanager
def _loading() -> "Iterator[None]":
    """Collect no garbage meanwhile: what is loaded stays, and to search it again and again is a tenth of the start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _serve_with_workers(chosen: "Settings", ready: "Callable[[str], None]") -> None:
    from sessioncast_server.workers.keeper import WorkersError, run_workers  # noqa: PLC0415  see `register`

    try:
        run_workers(chosen, ready=ready)
    except WorkersError as error:
        _fail(str(error), error.status)


def _settle_schema(chosen: "Settings", *, upgrades: bool = True) -> None:
    """Upgrade a file; refuse a PostgreSQL whose schema is older: other nodes may be at work on it.

    Args:
        upgrades: False: refuse a file, too.
    """
    from sessioncast_server.db.errors import DatabaseError  # noqa: PLC0415  see `register`
    from sessioncast_server.db.migrate import SchemaError, migrate, require_current  # noqa: PLC0415  the same

    try:
        if chosen.is_sqlite and upgrades:
            migrate(chosen.database_url)
        else:
            require_current(chosen.database_url)
    except (DatabaseError, SchemaError) as error:
        _fail(str(error))


def _settings(**overrides: Any) -> "Settings":
    from sessioncast_server.settings import SettingsError, load  # noqa: PLC0415  see `register`

    try:
        return load(**overrides)
    except SettingsError as error:
        _fail(str(error))


def _fail(message: str, status: int = 2) -> NoReturn:
    for line in message.splitlines():
        sys.stderr.write(f"sessioncast: {line}\n")
    raise typer.Exit(status)
