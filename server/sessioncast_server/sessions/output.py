"""What sessions print: appended, read, and joined to the log's output events."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from sessioncast_server.channels.encoding import encode_output
from sessioncast_server.db.statement import Text
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.db.types import UtcTime
from sessioncast_server.sessions import statements
from sessioncast_server.sessions.service import Hold, Visible, hold_session, session_event
from sessioncast_shared.events import EventType

PAGE_CHARACTERS = 1 << 20
"""Text in one page of output."""

# Ranges travel as one JSON text on both. They are the outer loop whatever a planner believes about the table
# (CROSS JOIN on SQLite, OFFSET 0 on PostgreSQL): each of them is one search in the primary key.
RANGES = Text(
    sqlite="""
SELECT session_id, seq, stream, text, at
FROM json_each(:ranges) CROSS JOIN session_output
WHERE session_id = json_extract(json_each.value, '$[0]')
    AND seq BETWEEN json_extract(json_each.value, '$[1]') AND json_extract(json_each.value, '$[2]')
""",
    postgresql="""
SELECT o.session_id, o.seq, o.stream, o.text, o.at
FROM json_array_elements(%(ranges)s::json) AS wanted(range)
CROSS JOIN LATERAL (
    SELECT * FROM session_output
    WHERE session_id = wanted.range ->> 0
        AND seq BETWEEN (wanted.range ->> 1)::bigint AND (wanted.range ->> 2)::bigint
    OFFSET 0
) AS o
""",
    columns={"session_id": None, "seq": None, "stream": None, "text": None, "at": UtcTime()},
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of output on its way in."""

    stream: str
    text: str


def append_output(
    tx: WriteTx, session_id: str, chunks: Sequence[Chunk], *, hold: Hold, visible: Visible
) -> tuple[int, int]:
    """Append chunks; the `seq` of the first and of the last. Output never changes the session's version.

    Raises:
        Problem: as `hold_session`.
    """
    record = hold_session(tx, session_id, hold, visible)
    first = record.output_seq + 1
    rows: list[dict[str, Any]] = [
        {"session_id": session_id, "seq": seq, "stream": chunk.stream, "text": chunk.text, "at": tx.now}
        for seq, chunk in enumerate(chunks, first)
    ]
    last = first + len(rows) - 1
    size = sum(len(chunk.text.encode()) for chunk in chunks)  # so that a reader of the log knows before it joins
    shown = [{name: row[name] for name in ("seq", "stream", "text", "at")} for row in rows]
    tx.many(statements.INSERT_OUTPUT, rows)
    tx.run(statements.GROW, session_id=session_id, new_output_seq=last, new_last_activity_at=tx.now)
    grown = replace(record, output_seq=last, last_activity_at=tx.now)
    tx.emit(
        session_event(
            EventType.SESSION_OUTPUT,
            grown,
            at=tx.now,
            data=encode_output(first, last, shown),
            stored=orjson.dumps({"first": first, "last": last, "size": size}),
        )
    )
    return first, last


def read_output(tx: ReadTx, session_id: str, *, after: int, limit: int, upto: int = 2**62) -> list[dict[str, Any]]:
    """At most `limit` chunks with `after < seq <= upto`, in order."""
    rows = tx.all(statements.OUTPUT, session_id=session_id, after=after, upto=upto, limit=limit)
    return [row._asdict() for row in rows]


def output_page(tx: ReadTx, session_id: str, *, after: int, limit: int, upto: int = 2**62) -> list[dict[str, Any]]:
    """As `read_output`, but no more chunks than `PAGE_CHARACTERS` need; one at least, when there is one.

    Lengths are read first: two hundred chunks of a megabyte must not be in memory before they are counted.
    """
    room, last = PAGE_CHARACTERS, after
    for row in tx.all(statements.OUTPUT_LENGTHS, session_id=session_id, after=after, upto=upto, limit=limit):
        room -= row.length
        if room < 0 and last > after:
            break
        last = row.seq
    return read_output(tx, session_id, after=after, limit=limit, upto=last)


def fill_output(tx: ReadTx, events: Sequence[Any]) -> dict[int, bytes]:
    """The `data` of output events from the log, by offset: one statement for all of them, and no other chunks."""
    ranges = [(event.offset, event.session_id, orjson.loads(event.data)) for event in events]
    wanted = [(session_id, range_["first"], range_["last"]) for _, session_id, range_ in ranges]
    chunks: dict[str, dict[int, dict[str, Any]]] = {}
    for row in tx.all(RANGES, ranges=orjson.dumps(wanted).decode()):
        shown = {"seq": row.seq, "stream": row.stream, "text": row.text, "at": row.at}
        chunks.setdefault(row.session_id, {})[row.seq] = shown
    filled = {}
    for offset, session_id, range_ in ranges:
        first, last = range_["first"], range_["last"]
        found = chunks.get(session_id, {})
        filled[offset] = encode_output(first, last, [found[seq] for seq in range(first, last + 1) if seq in found])
    return filled
