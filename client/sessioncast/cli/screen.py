"""Where `watch` writes: a terminal or a pipe."""

import os
import re
import sys
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sessioncast.cli.board import Board, model_of, phase_of
from sessioncast.cli.connect import say
from sessioncast.streams.items import StreamState
from sessioncast_shared.resources import OutputChunk

_STYLES = {"completed": "green", "failed": "red", "cancelled": "yellow", "running": "cyan", "working": "cyan"}

# Escapes that do not begin a colour; DEL and C1, which some terminals take for escapes.
_HARMFUL = re.compile(r"\x1b(?!\[[0-9;]*m)|[\x7f-\x9f]")


class Screen(Protocol):
    """Shows what `watch` finds out."""

    def changed(self, lines: list[str]) -> None:
        """The board has changed; each line tells one change."""

    def output(self, session: str, chunk: OutputChunk) -> None:
        """A session has said something."""

    def connection(self, state: StreamState, why: str) -> None:
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

    def changed(self, lines: list[str]) -> None:
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

    def connection(self, state: StreamState, why: str) -> None:
        """See `Screen`."""
        if state is StreamState.WAITING or (state is StreamState.OPEN and self._told):
            say(f"{state}: {why}" if why else str(state))
            self._told = state is StreamState.WAITING

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


class TableScreen:
    """For a terminal: a table that stays, the output running past above it."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._state, self._why = StreamState.CONNECTING, ""
        self._unfinished: dict[str, str] = {}
        self._live = Live(self._table(), console=console, auto_refresh=False)
        self._live.start()

    def changed(self, lines: list[str]) -> None:
        """See `Screen`."""

    def output(self, session: str, chunk: OutputChunk) -> None:
        """See `Screen`."""
        *lines, rest = (self._unfinished.pop(session, "") + chunk.text).split("\n")
        if rest:
            self._unfinished[session] = rest
        for line in lines:
            self._print(line)

    def connection(self, state: StreamState, why: str) -> None:
        """See `Screen`."""
        self._state, self._why = state, why

    def missed(self, why: str) -> None:
        """See `Screen`."""
        self._why = why

    def refresh(self) -> None:
        """See `Screen`."""
        self._live.update(self._table(), refresh=True)

    def close(self) -> None:
        """See `Screen`."""
        for line in self._unfinished.values():
            self._print(line)
        self.refresh()
        self._live.stop()

    def _print(self, line: str) -> None:
        self._live.console.print(_harmless(line), highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        colour = "green" if self._state is StreamState.OPEN else "red"
        caption = Text.assemble(("● ", colour), str(self._state), f" · {self._why}" if self._why else "")
        table = Table("task", "phase", "status", "model", "last change", caption=caption, caption_justify="left")
        for task, sessions in self._board.rows():
            title = _harmless(" ".join(task.title.split()) if task else "")
            if not sessions:
                table.add_row(title, "", "", "", "")
            for session in sessions:
                status = Text(str(session.status), style=_STYLES.get(session.status, ""))
                at = session.updated_at.astimezone().strftime("%H:%M:%S")
                table.add_row(title, phase_of(session), status, _harmless(model_of(session)), at)
                title = Text("")
        return table


def _harmless(text: str) -> Text:
    """Colours are kept; whatever else a text may say to a terminal (its title, the clipboard) is not passed on."""
    return Text.from_ansi(_HARMFUL.sub("", text))


def make_screen(board: Board, *, output_only: bool) -> Screen:
    """The screen that fits where stdout goes."""
    if output_only or not sys.stdout.isatty():
        return LineScreen(output_only=output_only)
    return TableScreen(board, Console())


def silence_stdout() -> None:
    """After a broken pipe: keep the interpreter from stumbling over what is still in its buffer."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
