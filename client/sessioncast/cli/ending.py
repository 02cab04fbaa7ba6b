"""The last lines of a session's output."""

from sessioncast.client import Client
from sessioncast_shared.resources import OutputChunk, Session


def last_pieces(session: Session, count: int) -> int:
    """The `seq` after which the last pieces come."""
    return max(session.output_seq - count, 0)


async def last_lines(client: Client, session: Session, count: int) -> list[tuple[OutputChunk, str]]:
    """The last lines of what it said up to now, as pieces and what of each is within them.

    Lines end where a newline does; what follows the last one is a line, too. As many pieces are read as lines are
    wanted, then twice as many, until they are found: most pieces are lines.
    """
    if not count or not session.output_seq:
        return []
    pieces: list[OutputChunk] = []
    first, wanted = session.output_seq + 1, count + 1
    while first > 1 and len(_split(pieces)) <= count:
        begin = max(first - wanted, 1)
        older = []
        async for chunk in client.sessions.read_output(session.id, after=begin - 1):
            if chunk.seq >= first:
                break
            older.append(chunk)
        pieces = older + pieces
        first, wanted = begin, wanted * 2
    lines = _split(pieces)
    skipped = sum(map(len, lines[:-count]))
    found = []
    for chunk in pieces:
        rest = chunk.text[skipped:]
        skipped = max(skipped - len(chunk.text), 0)
        if rest:
            found.append((chunk, rest))
    return found


def _split(pieces: list[OutputChunk]) -> list[str]:
    # Only newlines end lines: what else might, a carriage return for one, moves about within them.
    *whole, rest = "".join(chunk.text for chunk in pieces).split("\n")
    return [f"{line}\n" for line in whole] + ([rest] if rest else [])
