"""`watch` on a terminal, and where output goes that may harm one."""

import io
import json
from datetime import timedelta

import pytest
from rich.console import Console

from sessioncast import Event, Opened, OutputChunk, Resync, Session, Snapshot, StreamState, Task
from sessioncast.cli.board import Board
from sessioncast.cli.screen import TableScreen, age
from sessioncast.cli.screens import JsonScreen

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


def test_ages_are_said_as_people_say_them() -> None:
    """In the largest unit that there is one of; of what has ended, how long it took."""
    board = screen("T")[0]._board
    session = board.sessions["s"]
    for seconds, told in ((0, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (86400 * 3, "3d")):
        assert age(session, session.created_at + timedelta(seconds=seconds)) == told
        ended = session.model_copy(update={"ended_at": session.created_at + timedelta(seconds=seconds)})
        assert age(ended, session.created_at + timedelta(days=99)) == told
    assert age(session, session.created_at - timedelta(seconds=5)) == "0s"  # clocks differ


def test_programs_are_told_of_gaps_and_of_what_has_no_id(capsys: pytest.CaptureFixture[str]) -> None:
    """A gap, and a stream that fell behind, are of one type; an event is named by its session where it is not one."""
    shown = JsonScreen()
    shown.took(Opened("gap", "expired", from_="e:1", to="e:9"), [])
    shown.took(Resync("slow"), ["a line for people"])
    decided = {"position": "e:9", "type": "session.resume_decided", "at": AT, "project_id": "p", "session_id": "s"}
    shown.took(Event.model_validate({**decided, "data": {"decision": "fresh"}}), [])
    shown.took(Opened("resumed"), [])
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[:2] == [
        {"type": "gap", "reason": "expired", "from": "e:1", "to": "e:9"},
        {"type": "gap", "reason": "slow", "from": None, "to": None},
    ]
    assert (told[2]["kind"], told[2]["id"], told[2]["data"]) == ("session", "s", {"decision": "fresh"})
    assert len(told) == 3


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
