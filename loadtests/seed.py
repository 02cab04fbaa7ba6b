"""Fills a database with a past to measure on: 10,000 tasks and 100,000 sessions in 20 projects, unless told otherwise.

About a third of the sessions is live. Their events are gone already, as after a long time: each log begins at its head.
"""

import argparse
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bulk import Row, Writer, writer
from population import MEDIAN_MAX, SIGMA, SIZE_MAX, SIZE_MIN, Population, Size
from sessioncast_server.channels.log import new_epoch

SEED = 20260101
_BATCH = 2_000
"""Tasks whose rows are held in memory and written together."""


@dataclass(slots=True)
class Filled:
    """What there is now.

    Attributes:
        tasks: ids by project.
        printed: bytes of output, session by session.
    """

    tasks: dict[str, list[str]]
    seconds: float = 0.0
    live: int = 0
    printed: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        sizes = sorted(self.printed)
        return (
            f"{len(self.tasks)} projects, {sum(map(len, self.tasks.values())):,} tasks, {len(sizes):,} sessions "
            f"({self.live:,} live), {sum(sizes) / 1e6:,.0f} MB of output "
            f"(median {statistics.median(sizes):,.0f} B, p99 {sizes[len(sizes) * 99 // 100]:,} B, "
            f"largest {sizes[-1]:,} B) in {self.seconds:.1f} s"
        )


def fill(url: str, size: Size, *, seed: int = SEED, now: datetime | None = None) -> Filled:
    """Write a population through the tables, in one transaction.

    Raises:
        UnavailableError: the database cannot be reached, or a server has it.
        sqlite3.IntegrityError, psycopg.errors.UniqueViolation: it was filled before.
    """
    began = time.monotonic()
    moment = now or datetime.now(UTC)
    population = Population(size, seed=seed, now=moment)
    filled = Filled({project: [] for project in population.projects})
    heads: Counter[str] = Counter()
    with writer(url) as into:
        into.add("project", [{"id": project, "created_at": moment} for project in population.projects])
        batch: dict[str, list[Row]] = {"task": [], "session": [], "session_output": []}
        for past in population.tasks():
            project = past.task["project_id"]
            filled.tasks[project].append(past.task["id"])
            filled.live += sum(session["deleted_at"] is None for session in past.sessions)
            filled.printed += _printed(past.sessions, past.outputs)
            heads[project] += past.changes
            for table, rows in zip(batch, ([past.task], past.sessions, past.outputs), strict=True):
                batch[table] += rows
            if len(batch["task"]) == _BATCH:
                _flush(into, batch)
        _flush(into, batch)
        into.add(
            "channel",
            [
                {"project_id": project, "epoch": new_epoch(), "head": heads[project], "floor": heads[project]}
                for project in population.projects
            ],
        )
        into.finish()
    filled.seconds = time.monotonic() - began
    return filled


def _printed(sessions: list[Row], outputs: list[Row]) -> list[int]:
    sizes = dict.fromkeys((session["id"] for session in sessions), 0)
    for row in outputs:
        sizes[row["session_id"]] += len(row["text"])
    return list(sizes.values())


def _flush(into: Writer, batch: dict[str, list[Row]]) -> None:
    for table, rows in batch.items():
        if rows:
            into.add(table, rows)
            rows.clear()


def main() -> int:
    """Fill the database that is named, and print what there is now."""
    default = Size()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-url", required=True, help="sqlite:///PATH or postgresql://…; no server may use it")
    parser.add_argument("--projects", type=int, default=default.projects)
    parser.add_argument("--tasks", type=int, default=default.tasks)
    parser.add_argument("--sessions", type=int, default=default.sessions)
    parser.add_argument("--output-mb", type=float, default=default.output_bytes / 1e6, help="bound on all output")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    size = Size(options.projects, options.tasks, options.sessions, int(options.output_mb * 1e6))
    print(
        f"seed {options.seed}; bytes of output a session: log-normal, median {size.median:,.0f}, sigma {SIGMA:g}, "
        f"cut to {SIZE_MIN:,} … {SIZE_MAX:,} (median at most {MEDIAN_MAX:,}; bound {size.output_bytes / 1e6:,.0f} MB)"
    )
    print(fill(options.database_url, size, seed=options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
