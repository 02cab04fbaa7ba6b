"""Logs: one line per happening on standard error, JSON for machines or coloured for a terminal."""

import asyncio
import atexit
import contextlib
import json
import logging
import sys
from collections import deque
from collections.abc import MutableMapping
from typing import Any, ClassVar

import orjson
import structlog
from structlog.types import Processor

_ROUTED = ("uvicorn", "uvicorn.error", "uvicorn.asgi")
_CHATTER = ('%s - "WebSocket', "connection ")
"""How uvicorn's lines about a WebSocket begin: they show query strings, and the middleware writes one of its own."""


def configure(log: str | None, level: str, *, worker: int | None = None) -> None:
    """Send structlog's lines and those of the standard library's loggers to standard error.

    `log` is `json`, `console` or None for what fits standard error; `level` is a standard level's name; `worker` is a
    number that each line says, if there is one. uvicorn's access log is silenced: it would show query strings, and the
    middleware writes a line of its own.
    """
    terminal = sys.stderr is not None and sys.stderr.isatty()
    console = log == "console" or (log is None and terminal)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    chain: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([] if worker is None else [_signed(worker)]),
    ]
    last: list[Processor]
    if console:
        last = [structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=structlog.dev.plain_traceback)]
    else:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
    structlog.configure(
        processors=[*chain, *last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _Lines(),
        cache_logger_on_first_use=True,
    )
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*chain, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in _ROUTED:
        routed = logging.getLogger(name)
        routed.handlers.clear()
        routed.propagate = True
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn.error").addFilter(_worth_a_line)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells at each start what it will assume


def _signed(worker: int) -> Processor:
    """Not a context variable: threads begin without those."""

    def sign(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        line.setdefault("worker", worker)
        return line

    return sign


def _worth_a_line(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not str(record.msg).startswith(_CHATTER)


class _Lines:
    """What structlog hands finished lines to.

    What goes well is written once a turn of the event loop, for all requests of the turn: a system call for each would
    cost them a twentieth of their time. What does not is written at once, with all that came before it.
    """

    _kept: ClassVar[deque[str]] = deque()  # appended to and taken from by any thread, one line at a time

    def msg(self, line: str) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another thread, or before and after the server: nobody would write it later
            _write(line)
            return
        self._kept.append(line)
        if len(self._kept) == 1:
            loop.call_soon(self.flush)

    def at_once(self, line: str) -> None:
        self.flush()
        _write(line)

    @classmethod
    def flush(cls) -> None:
        lines = []
        with contextlib.suppress(IndexError):
            while True:
                lines.append(cls._kept.popleft())
        if lines:
            _write("\n".join(lines))

    debug = info = msg
    warning = error = critical = exception = at_once


atexit.register(_Lines.flush)


class _Handler(logging.Handler):
    """What comes by way of the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001  a message whose arguments do not fit it must not stop its sender
            record.msg, record.args = f"{record.msg!s} {record.args!r}", None
            text = self.format(record)
        _Lines.flush()
        _write(text)


def _write(line: str) -> None:
    """To standard error, which may be gone or full: the line is lost then, and nothing else."""
    if sys.stderr is None:  # closed before the start
        return
    try:
        sys.stderr.buffer.write(line.encode(errors="backslashreplace") + b"\n")
        sys.stderr.buffer.flush()
    except (OSError, ValueError):
        return


def _json(value: MutableMapping[str, Any], **_: Any) -> str:
    try:
        return orjson.dumps(value, default=repr).decode()
    except TypeError:  # lone surrogates, integers beyond 64 bit
        return json.dumps(value, default=repr)
