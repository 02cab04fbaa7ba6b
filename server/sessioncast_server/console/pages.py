"""The page at `/`."""

from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from sessioncast_server.jsontext import json_bytes
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.endpoint import Call, Endpoint

# Its buttons replace and delete: it is not to be shown in the frame of a page that makes its reader click on them.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
_FILES = (
    *("app.js", "ansi.js", "api.js", "confirm.js", "dialog.js", "intent.js", "large.js", "list.js"),
    *("manage.js", "output.js", "pane.js", "problems.js", "rows.js", "selection.js", "start.js", "startform.js"),
    *("status.js", "style.css", "texts.js", "usage.js"),
)


def _module() -> dict[str, bytes]:
    """The browser's module by file name. A wheel has it beside this file, a checkout among its clients."""
    installed = Path(__file__).with_name("client")
    folder = installed if installed.is_dir() else Path(__file__).parents[3] / "client" / "js"
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.js"))}


class ConsoleQuery(BaseModel):
    """What the page's address may name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: str | None = None
    session: str | None = None


def pages(*, support_url: str | None) -> list[Endpoint]:
    """`/`, its scripts and its style, what they are told of the settings, and the module for anybody's pages."""

    def page(path: str, file: str, body: bytes | None = None) -> Endpoint:
        body = resources.files(__package__).joinpath(file).read_bytes() if body is None else body
        type_ = f"{_TYPES[file.rpartition('.')[2]]}; charset=utf-8"
        headers = {"Content-Type": type_, "Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}

        async def show(call: Call) -> Response:
            return Answer(200, body, headers).response(call.request_id)

        return Endpoint(
            "GET",
            path,
            show,
            f"The console: {file}" if path.startswith("/console/") or path == "/" else f"The browser module: {file}",
            query=ConsoleQuery if path == "/" else None,
            answers={200: str},
            tag="console",
            public=True,
        )

    async def config(call: Call) -> Response:
        return Answer(200, json_bytes({"support_url": support_url})).response(call.request_id)

    return [
        page("/", "index.html"),
        *(page(f"/console/{file}", file) for file in _FILES),
        *(page(f"/client/{file}", file, body) for file, body in _module().items()),
        Endpoint(
            "GET",
            "/console/config.json",
            config,
            "The console: settings",
            answers={200: dict},
            tag="console",
            public=True,
        ),
    ]
