"""What it takes to append to a chat history that has had 100,000 messages, and to chat, beside what is usually done.

The long thread has had all of its messages written and pruned through the same requests that are measured. Beside ours
runs, on SQLite, the OpenAI Agents SDK's own session behind FastAPI, which deletes all but the newest 200 after each
append; on PostgreSQL async SQLModel that inserts and deletes likewise. Both servers run the whole time and are asked in
turns, in rounds.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop

from cluster import admin_url, fresh_database
from crowd.tree import free_port, run
from driver import Measure, Wish, ask, drive, request
from figures import Figure, figure, median, show, show_head
from providers import expecting, measured, rounds_ratio
from rule import new_project
from sessioncast_server.db.migrate import migrate
from sides import Side

KEPT = 200
RIVALS = {"sqlite": "agents_threads", "postgresql": "sqlmodel_threads"}
_CONTENT = "What it says does not matter, but it is as long as people write: a sentence or two. " * 3
_SHORT = 150
"""Messages that a short thread gets: so few that it is never pruned."""
_FILL_S = 1800.0
_WARM_UP_S = 0.3


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is loaded.

    Attributes:
        long: a thread with a past.
    """

    project: str
    long: str

    def messages(self, thread: str) -> str:
        """Path of a thread's messages."""
        return f"/v1/projects/{self.project}/threads/{thread}/messages"


def new_thread() -> str:
    """An id; the thread is made by the first message."""
    return str(uuid.uuid4())


def lines(count: int) -> dict[str, Any]:
    """The body of an append of so many messages, of the user and of the assistant by turns."""
    roles = itertools.cycle(("user", "assistant"))
    return {"messages": [{"role": role, "content": _CONTENT} for role in itertools.islice(roles, count)]}


def appends(side: Side, place: Place, threads: Iterator[str]) -> Iterator[Wish]:
    """Requests that append one message each, to these threads."""
    body = lines(1)
    for thread in threads:
        yield request("POST", place.messages(thread), body), expecting(side, 201)


def chats(side: Side, thread: str) -> Iterator[Wish]:
    """Exchanges of one thread, one after another."""
    for number in itertools.count():
        yield (
            request("POST", f"/chatkit/threads/{thread}/messages", {"content": f"Line {number}"}),
            expecting(side, 200),
        )


async def write(side: Side, place: Place, thread: str, count: int, batch: int) -> None:
    """Write so many messages into a thread."""
    sizes = [min(batch, count - first) for first in range(0, count, batch)]
    wishes = ((request("POST", place.messages(thread), lines(size)), expecting(side, 201)) for size in sizes)
    await drive(side.port, [wishes], _FILL_S)


async def furnish(side: Side, past: int, batch: int) -> Place:
    """A project with a thread that has had so many messages.

    Raises:
        RuntimeError: it does not hold the newest of them alone.
    """
    place = Place(await new_project(side), new_thread())
    began = time.monotonic()
    await write(side, place, place.long, past, batch)
    took = time.monotonic() - began
    status, said = await ask(side.port, request("GET", f"{place.messages(place.long)}?order=desc&limit={KEPT}"))
    if status != 200 or len(said["data"]) != min(past, KEPT):
        raise RuntimeError(f"{side.name}: the long thread was answered with {status}, {len(said.get('data', ()))}")
    print(f"{side.database}, {side.name}: {past:,} messages in batches of {batch} took {took:.1f} s", flush=True)
    return place


async def together(number: int, side: Side, count: int) -> tuple[Figure, int]:
    """So many messages to one thread at once; and how many answers arrived before one of an earlier turn.

    Raises:
        RuntimeError: a message was not followed, in the thread, by the answer to it.
    """
    thread = new_thread()
    arrived: list[tuple[str, str]] = []

    def client(one: int) -> Iterator[Wish]:
        content = f"Line {one}"

        def told(status: int, body: bytes) -> None:
            if status != 200:
                raise RuntimeError(f"{side.name}: one of {count} at once was answered with {status} {body[:500]!r}")
            arrived.append((content, json.loads(body)["content"]))

        yield request("POST", f"/chatkit/threads/{thread}/messages", {"content": content}), told

    cpu = side.cpu()
    measure: Measure = await drive(side.port, [client(one) for one in range(count)], _FILL_S)
    made = figure(number, side, f"chat ×{count}", measure, side.cpu() - cpu)
    path = f"/v1/projects/default/threads/{thread}/messages?order=desc&limit={KEPT}"
    _, said = await ask(side.port, request("GET", path))
    kept = [message["content"] for message in reversed(said["data"])]
    exchanges = list(zip(kept[::2], kept[1::2], strict=True))
    if sorted(exchanges) != sorted(arrived):
        raise RuntimeError(f"{side.name}: of {count} messages at once some were not followed by their answers")
    turns = [exchanges.index(one) for one in arrived]
    return made, sum(after < before for before, after in itertools.pairwise(turns))


async def measure_round(
    number: int, side: Side, place: Place, seconds: float, options: argparse.Namespace
) -> tuple[list[Figure], int]:
    """Append to the long thread, to a full one, to short ones, to several full ones; read the long one; chat."""
    full, chat, *several = [new_thread() for _ in range(2 + options.clients)]
    for thread in (full, *several):
        await write(side, place, thread, KEPT, KEPT)
    await write(side, Place("default", chat), chat, KEPT, KEPT)
    short = (thread for _ in itertools.count() for thread in [new_thread()] * _SHORT)
    newest = request("GET", f"{place.messages(place.long)}?order=desc&limit={KEPT}")
    loads: dict[str, list[Iterator[Wish]]] = {
        "long": [appends(side, place, itertools.repeat(place.long))],
        "full": [appends(side, place, itertools.repeat(full))],
        "short": [appends(side, place, short)],
        f"full ×{options.clients}": [appends(side, place, itertools.repeat(thread)) for thread in several],
        "read": [itertools.repeat((newest, expecting(side, 200)))],
        "chat": [chats(side, chat)],
    }
    figures = [await measured(number, side, name, clients, seconds) for name, clients in loads.items()]
    made, inversions = await together(number, side, options.together)
    return [*figures, made], inversions


async def load(
    both: tuple[tuple[Side, Place], ...], options: argparse.Namespace
) -> tuple[list[Figure], dict[str, int]]:
    """Warm up, then ask the servers in turns; also how often an answer overtook another on its way."""
    for side, place in both:
        # The chats' project is there from the first message on; the rival does not need it.
        await ask(side.port, request("POST", f"/chatkit/threads/{new_thread()}/messages", {"content": "Hello"}))
        await measure_round(0, side, place, min(options.seconds, _WARM_UP_S), options)
    figures: list[Figure] = []
    overtaken = {side.name: 0 for side, _ in both}
    show_head()
    for number in range(1, options.rounds + 1):
        for side, place in both:
            rows, inversions = await measure_round(number, side, place, options.seconds, options)
            overtaken[side.name] += inversions
            figures += rows
            for row in rows:
                show(row)
    return figures, overtaken


@contextmanager
def serving(name: str, program: tuple[str, ...], url: str, folder: Path) -> Iterator[Side]:
    """A server on a core of its own."""
    port = free_port()
    command = [sys.executable, "-m", *program, "--database-url", url, "--port", str(port)]
    places = {"PYTHONPATH": str(Path(__file__).parent)}
    with run(command, port, folder, environment=places, name=name) as pid:
        yield Side(name, url.partition(":")[0], port, pid, bulk=name != "sessioncast")


@contextmanager
def both_sides(database: str, folder: Path, options: argparse.Namespace) -> Iterator[tuple[tuple[Side, Place], ...]]:
    """Both servers with a past: on a fresh file each, or on a fresh database each in one durable cluster."""
    with ExitStack() as stack:
        urls = [f"sqlite:///{(folder / name).absolute()}" for name in ("ours.db", "rival.db")]
        if database == "postgresql":
            cluster = stack.enter_context(admin_url(options.postgres_url))
            urls = [stack.enter_context(fresh_database(cluster)) for _ in urls]
        migrate(urls[0])  # on PostgreSQL a server does not do it itself
        rival = RIVALS[database]
        programs = {"sessioncast": ("sessioncast", "serve"), rival.replace("_", "+"): (f"rivals.{rival}",)}
        sides = [
            stack.enter_context(serving(name, program, url, folder))
            for url, (name, program) in zip(urls, programs.items(), strict=True)
        ]
        yield tuple((side, uvloop.run(furnish(side, options.past, options.batch))) for side in sides)


def judge(database: str, figures: list[Figure], names: tuple[str, str]) -> dict[str, dict[str, Any]]:
    """Print the medians of the rounds side by side; by operation."""
    found: dict[str, dict[str, Any]] = {}
    operations = dict.fromkeys(made.operation for made in figures)
    medians = {(side, name): median(figures, side, name) for name in operations for side in names}
    for made in medians.values():
        show(made)
    for name in operations:
        mine, theirs = medians[names[0], name], medians[names[1], name]
        each = rounds_ratio(figures, names, name)
        print(
            f"{database}, {name}: p50 {mine.p50_ms:.2f} ms, p99 {mine.p99_ms:.2f} ms; "
            f"rival: p50 {theirs.p50_ms:.2f} ms, p99 {theirs.p99_ms:.2f} ms\n"
            f"    the rival's p50 to ours, by rounds: {', '.join(map(str, each))}; median {statistics.median(each)}"
        )
        found[name] = {"ours": asdict(mine), "rival": asdict(theirs), "times": each}
    for side in names:
        each = long_to_full(figures, side)
        found["long"].setdefault("to_full", {})[side] = each
        print(f"{database}, {side}: p50 of an append to the long thread to a full one's: {', '.join(map(str, each))}")
    return found


def long_to_full(figures: list[Figure], side: str) -> list[float]:
    """What the past costs: the median latency with it to that without, round by round."""
    by = {(made.round, made.operation): made.p50_ms for made in figures if made.side == side}
    rounds = sorted({number for number, _ in by})
    return [round(by[number, "long"] / by[number, "full"], 2) for number in rounds]


def compare(database: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure on one database."""
    with (
        tempfile.TemporaryDirectory(prefix="threads-") as name,
        both_sides(database, Path(name), options) as both,
    ):
        figures, overtaken = uvloop.run(load(both, options))
        found = judge(database, figures, (both[0][0].name, both[1][0].name))
        print(f"{database}: answers that arrived before one of an earlier turn: {overtaken}")
    return {"figures": [asdict(made) for made in figures], "found": found, "overtaken": overtaken}


def main() -> int:
    """Run, print, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="sqlite")
    parser.add_argument("--postgres-url", help="a superuser's database in a cluster of yours; none: one of its own")
    parser.add_argument("--past", type=int, default=100_000, help="messages that the long thread has had")
    parser.add_argument("--batch", type=int, default=500, help="of these, messages in one request")
    parser.add_argument("--clients", type=int, default=10, help="that append at once, a thread each")
    parser.add_argument("--together", type=int, default=50, help="messages to one thread at once; at most 100")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measured load")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    began = time.monotonic()
    chosen = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    result = {database: compare(database, options) for database in chosen}
    print(f"took {time.monotonic() - began:.0f} s")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
