"""Logs, written by a process of their own: the configuration is the whole process's."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import logging, sys, structlog
from sessioncast_server.observe.logs import configure
configure({log}, "info")
log = structlog.get_logger("x")
structlog.contextvars.bind_contextvars(request_id="r-1")
log.info("hello", big=2**70, half="\\ud800", path="a\\nb", thing=object)
log.debug("not shown")
logging.getLogger("uvicorn.error").info("started %s", "server")
logging.getLogger("uvicorn.access").info("GET /?token=hush")
logging.getLogger("other").warning("bad %d", "text")
try:
    hidden = "local value"
    1 / 0
except ZeroDivisionError as error:
    log.error("failed", exc_info=error)
    logging.getLogger("other").exception("also failed")
print("reached the end")
"""


def logged(log: str | None, **streams: Any) -> subprocess.CompletedProcess[str]:
    """What a process wrote that logs all kinds of things."""
    arguments = [sys.executable, "-c", PROGRAM.format(log=repr(log))]
    streams.setdefault("stderr", subprocess.PIPE)
    return subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True, timeout=60, **streams)


@pytest.mark.parametrize("log", ["json", None])
def test_json_has_one_object_a_line(log: str | None) -> None:
    """Ours and the standard library's, with level, time and request id; JSON is the default without a terminal."""
    lines = [json.loads(line) for line in logged(log).stderr.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("hello", "info"),
        ("started server", "info"),
        ("bad %d ('text',)", "warning"),
        ("failed", "error"),
        ("also failed", "error"),
    ]
    assert all(line["request_id"] == "r-1" and line["timestamp"].endswith("Z") for line in lines)
    assert (lines[0]["big"], lines[0]["path"], lines[0]["half"]) == (2**70, "a\nb", "\ud800")
    assert "ZeroDivisionError" in lines[3]["exception"]
    assert "ZeroDivisionError" in lines[4]["exception"]
    assert "local value" not in lines[3]["exception"].replace('hidden = "local value"', "")


def test_console_lines_are_for_people() -> None:
    """The same happenings, readable, and without colours where there is no terminal."""
    text = logged("console").stderr
    assert "hello" in text
    assert "started server" in text
    assert "ZeroDivisionError" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("log", ["json", "console"])
def test_query_strings_of_the_access_log_are_not_shown(log: str) -> None:
    """uvicorn's own access line would have them."""
    assert "hush" not in logged(log).stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_a_full_log_costs_lines_and_nothing_else() -> None:
    """The program goes on."""
    with Path("/dev/full").open("w") as full:
        assert logged("json", stderr=full).stdout == "reached the end\n"


def test_a_closed_standard_error_costs_lines_and_nothing_else() -> None:
    """A daemon may have been started without one."""
    command = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, PROGRAM.format(log="'json'")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    assert done.stdout == "reached the end\n"


_TURNS = """
import asyncio, os, structlog
from sessioncast_server.observe.logs import configure
configure("json", "info")
log = structlog.get_logger("x")
async def main():
    log.info("one")
    log.info("two")
    os.write(2, b"nothing yet\\n")
    log.warning("three")
    os.write(2, b"all of them\\n")
    log.info("four")
    await asyncio.sleep(0)
    os.write(2, b"a turn later\\n")
    log.info("five")
asyncio.run(main())
log.info("six")
os.write(2, b"the end\\n")
"""


def test_lines_of_one_turn_are_written_together_and_in_order() -> None:
    """What goes well waits for the end of the turn; what does not is written at once, after all that came before it."""
    done = subprocess.run([sys.executable, "-c", _TURNS], stderr=subprocess.PIPE, text=True, check=True, timeout=60)
    lines = [json.loads(line)["event"] if line.startswith("{") else line for line in done.stderr.splitlines()]
    assert lines == [
        *("nothing yet", "one", "two", "three", "all of them"),
        *("four", "a turn later", "five", "six", "the end"),
    ]
