"""`watch` on a terminal, and where output goes that may harm one."""

import io

from rich.console import Console

from sessioncast import OutputChunk, Session, Snapshot, StreamState, Task
from sessioncast.cli.board import Board
from sessioncast.cli.screen import TableScreen

AT = "2026-01-01T00:00:00Z"


def chunk(seq: int, text: str) -> OutputChunk:
    """A chunk of output."""
    return OutputChunk.model_validate({"seq": seq, "stream": "log", "text": text, "at": AT})


def screen(title: str) -> tuple[TableScreen, io.StringIO]:
    """A screen with one task and its session, and what it writes."""
    board = Board()
    times = dict.fromkeys(("created_at", "updated_at", "last_activity_at"), AT)
    task = Task.model_validate({"id": "t", "project_id": "p", "title": title, "version": 1, **times})
    ids = {"id": "s", "project_id": "p", "task_id": "t", "phase": "verify", "debug": True, "user": "u", "fence": 1}
    rest = {"model": {"name": "m", "version": "7"}, "status": "running", "active": True, "version": 1, "output_seq": 0}
    board.take(Snapshot((task, Session.model_validate({**ids, **rest, **times})), "e:1"))
    file = io.StringIO()
    return TableScreen(board, Console(file=file, force_terminal=True, width=100, legacy_windows=False)), file


def test_the_table_shows_sessions_and_the_connection() -> None:
    """Task, phase, status, model and whether it is live are seen at a glance, also while it is not."""
    shown, file = screen("A title")
    shown.connection(StreamState.WAITING, "connection refused")
    shown.refresh()
    shown.close()
    assert all(part in file.getvalue() for part in ("A title", "verify.debug", "running", "m 7", "connection refused"))


def test_output_runs_past_line_by_line() -> None:
    """Pieces of a line are put together; the last one is shown at the end though it has no newline."""
    shown, file = screen("T")
    shown.output("s", chunk(1, "one\ntw"))
    assert "one" in file.getvalue()
    assert "tw" not in file.getvalue()
    shown.output("s", chunk(2, "o\n[bold]last"))
    shown.close()
    assert "two" in file.getvalue()
    assert "[bold]last" in file.getvalue()


def test_nothing_but_colour_gets_through_to_the_terminal() -> None:
    """Neither output nor a title can move the cursor, set the clipboard or the window's title; colours stay."""
    plain_shown, plain_file = screen("T")
    plain_shown.close()
    evil = "\x1b]0;t\x07\x1b]52;c;QQ==\x1b\\\x1b[2J\x9b2J\x1bPq\x1b\\\x1b[5;5H\x1bc"
    shown, file = screen(f"T{evil}\n")
    shown.output("s", chunk(1, f"{evil}\x1b[31mred\x1b[0m\n"))
    shown.close()
    assert "\x1b[31mred" in file.getvalue()
    for sequence in ("\x1b]", "\x1bP", "\x1b[2J", "\x9b", "\x1b[5;5H", "\x1bc", "\x07"):
        assert sequence not in file.getvalue().replace(plain_file.getvalue(), "")
