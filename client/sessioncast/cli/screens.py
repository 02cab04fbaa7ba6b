"""Where `watch` writes: a terminal, a pipe that people read, or one that programs do."""

import sys
from collections.abc import Sequence
from typing import Any, Protocol

from sessioncast.cli.board import Board
from sessioncast.cli.connect import emit, say
from sessioncast.streams.items import Item, Opened, Resync, Snapshot, StreamState
from sessioncast_shared.events import Event, EventType
from sessioncast_shared.resources import OutputChunk, Resource


class Screen(Protocol):
    """Shows what `watch` finds out."""

    def took(self, item: Item, lines: list[str]) -> None:
        """The board has taken an item; each line tells a person one change."""

    def output(self, session: str, chunk: OutputChunk) -> None:
        """A session has said something."""

    def connection(self, state: StreamState, why: str, transport: str = "") -> None:
        """The stream's connection has changed; `why` it is not open."""

    def missed(self, why: str) -> None:
        """Events were lost to us; what is shown is the present state all the same."""

    def refresh(self) -> None:
        """Called a few times a second."""

    def close(self) -> None:
        """The end."""


class LineScreen:
    """For a pipe or a file: one plain line per change, output as it is. The connection's state goes to stderr."""

    def __init__(self, *, output_only: bool) -> None:
        self._output_only = output_only
        self._in_line = False
        self._told = False

    def took(self, item: Item, lines: list[str]) -> None:  # noqa: ARG002  the lines say it
        """See `Screen`."""
        if self._output_only or not lines:
            return
        if self._in_line:
            lines = ["", *lines]
        self._write("".join(f"{line}\n" for line in lines))
        self._in_line = False

    def output(self, session: str, chunk: OutputChunk) -> None:  # noqa: ARG002  one stream of text, whoever speaks
        """See `Screen`."""
        self._write(chunk.text)
        if chunk.text:
            self._in_line = not chunk.text.endswith("\n")

    def connection(self, state: StreamState, why: str, transport: str = "") -> None:  # noqa: ARG002  for tables
        """See `Screen`."""
        away = state not in (StreamState.OPEN, StreamState.CONNECTING, StreamState.CLOSED)
        if away or (state is StreamState.OPEN and self._told):
            say(f"{state}: {why}" if why else str(state))
            self._told = away

    def missed(self, why: str) -> None:
        """See `Screen`."""
        say(why)

    def refresh(self) -> None:
        """See `Screen`."""

    def close(self) -> None:
        """See `Screen`."""

    def _write(self, text: str) -> None:
        # Bytes, so that no newline is translated and no locale is asked.
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()


class JsonScreen:
    """For programs: one object a line, with a `type`. docs/cli.md tells their fields, which only ever get more."""

    def took(self, item: Item, lines: list[str]) -> None:  # noqa: ARG002  they are for people
        """See `Screen`."""
        match item:
            case Snapshot():
                self._tell(
                    "snapshot",
                    position=item.position,
                    too_large=item.too_large,
                    tasks=_documents(item.tasks),
                    sessions=_documents(item.sessions),
                    provider_sessions=_documents(item.provider_sessions),
                )
            case Event(type=EventType.SESSION_OUTPUT):
                pass  # told piece by piece, each once
            case Event():
                id_ = item.data.get("id") or item.session_id or item.task_id
                kind = item.type.partition(".")[0]
                told = item.model_dump(mode="json", include={"position", "at", "task_id", "session_id", "data"})
                self._tell("change", event=item.type, kind=kind, id=id_, **told)
            case Opened(state="gap"):
                self._tell("gap", reason=item.reason, **{"from": item.from_, "to": item.to})
            case Resync():
                self._tell("gap", reason=item.reason, **{"from": None, "to": None})

    def output(self, session: str, chunk: OutputChunk) -> None:
        """See `Screen`."""
        self._tell("output", session_id=session, **chunk.model_dump(mode="json"))

    def connection(self, state: StreamState, why: str, transport: str = "") -> None:
        """See `Screen`."""
        self._tell("state", state=str(state), why=why or None, transport=transport or None)

    def missed(self, why: str) -> None:
        """See `Screen`; the item itself has told it."""

    def refresh(self) -> None:
        """See `Screen`."""

    def close(self) -> None:
        """See `Screen`."""

    def _tell(self, type_: str, **fields: Any) -> None:
        emit({"type": type_, **fields}, "", as_json=True)


def _documents(resources: Sequence[Resource]) -> list[dict[str, Any]]:
    return [resource.model_dump(mode="json") for resource in resources]


def make_screen(board: Board, *, output_only: bool, as_json: bool) -> Screen:
    """The screen that fits where stdout goes."""
    if as_json:
        return JsonScreen()
    if output_only or not sys.stdout.isatty():
        return LineScreen(output_only=output_only)
    from rich.console import Console

    from sessioncast.cli.screen import TableScreen

    return TableScreen(board, Console())
