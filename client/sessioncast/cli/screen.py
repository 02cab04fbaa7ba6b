"""Where `watch` writes on a terminal."""

import re
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sessioncast.cli.board import Board, model_of, phase_of
from sessioncast.streams.items import Item, StreamState
from sessioncast_shared.resources import OutputChunk, Session

_STYLES = {"completed": "green", "failed": "red", "cancelled": "yellow", "running": "cyan", "working": "cyan"}
_COLUMNS = ("task", "phase", "model", "status", "age", "tokens", "last change")

# Escapes that do not begin a colour; DEL and C1, which some terminals take for escapes.
_HARMFUL = re.compile(r"\x1b(?!\[[0-9;]*m)|[\x7f-\x9f]")


class TableScreen:
    """For a terminal: a table that stays, the output running past above it."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._state, self._why, self._transport = StreamState.CONNECTING, "", ""
        self._unfinished: dict[str, str] = {}
        self._live = Live(self._table(), console=console, auto_refresh=False)
        self._live.start()

    def took(self, item: Item, lines: list[str]) -> None:
        """See `Screen`; the board is what is shown."""

    def output(self, session: str, chunk: OutputChunk) -> None:
        """See `Screen`."""
        *lines, rest = (self._unfinished.pop(session, "") + chunk.text).split("\n")
        if rest:
            self._unfinished[session] = rest
        for line in lines:
            self._print(line)

    def connection(self, state: StreamState, why: str, transport: str = "") -> None:
        """See `Screen`."""
        self._state, self._why, self._transport = state, why, transport

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
        facts = [str(self._state), self._transport, self._why]
        caption = Text.assemble(("● ", colour), " · ".join(filter(None, facts)))
        table = Table(*_COLUMNS, caption=caption, caption_justify="left")
        table.columns[_COLUMNS.index("tokens")].justify = "right"
        for task, sessions in self._board.rows():
            title = _harmless(" ".join(task.title.split()) if task else "")
            if not sessions:
                table.add_row(title)
            for session in sessions:
                table.add_row(title, *self._cells(session))
                title = Text("")
        return table

    def _cells(self, session: Session) -> list[str | Text]:
        tokens = self._board.tokens(session.id)
        return [
            phase_of(session),
            _harmless(model_of(session)),
            Text(str(session.status), style=_STYLES.get(session.status, "")),
            age(session, datetime.now(UTC)),
            "" if tokens is None else f"{tokens:,}",
            session.updated_at.astimezone().strftime("%H:%M:%S"),
        ]


def age(session: Session, now: datetime) -> str:
    """How long it has been there, or was until it ended, as people say it."""
    seconds = max(int(((session.ended_at or now) - session.created_at).total_seconds()), 0)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _harmless(text: str) -> Text:
    """Colours are kept; whatever else a text may say to a terminal (its title, the clipboard) is not passed on."""
    return Text.from_ansi(_HARMFUL.sub("", text))
