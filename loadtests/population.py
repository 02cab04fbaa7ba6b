"""A made-up past: projects, their tasks, and the sessions that were started, replaced and deleted there.

Sizes of what sessions printed are log-normal. From 100 B to 1 MB at ± 3 sigma would be 3 GB for 100,000 sessions, so
the median follows from a bound on all of it, and what is drawn beyond either end is cut to it.
"""

import math
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

PHASES = ("plan", "run", "verify")
ACTIVE = ("pending", "running", "working", "waiting", "idle")
TERMINAL = ("completed", "failed")
MODELS = ("model-a", "model-b", "model-c", "model-d")

SIZE_MIN = 100
SIZE_MAX = 1_000_000
SIGMA = 2.0
"""Of the natural logarithm of a session's output in bytes."""
MEDIAN_MAX = 10_000
"""Bytes: the middle between both ends, for a bound that is not reached."""
CHUNK = 8_192
"""Bytes of one chunk of output, the last one of a session apart."""

_HELD_PHASE = 0.9
_HELD_DEBUG = 0.2
"""Shares of the places that a live session holds: 3.3 live sessions to a task."""
_TASK_AGE_D = 60
_LATEST_D = 2
"""A task's first session starts 2 to 60 days ago."""
_PRINTED = 1 << 20
"""Characters that all output is cut from."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is to be.

    Attributes:
        sessions: live ones and history together; at least as many as come out live.
        output_bytes: bound on what all sessions printed.
    """

    projects: int = 20
    tasks: int = 10_000
    sessions: int = 100_000
    output_bytes: int = 400_000_000

    @property
    def median(self) -> float:
        """Bytes that half of the sessions printed less than: `mean / exp(sigma² / 2)`, before the ends are cut."""
        mean = self.output_bytes / max(1, self.sessions)
        return min(MEDIAN_MAX, max(SIZE_MIN, mean / math.exp(SIGMA**2 / 2)))


@dataclass(frozen=True, slots=True)
class TaskPast:
    """A task, and rows of the tables `session` and `session_output`, oldest first."""

    task: dict[str, Any]
    sessions: list[dict[str, Any]]
    outputs: list[dict[str, Any]]

    @property
    def changes(self) -> int:
        """How many events the log would have had."""
        ended = sum(session["deleted_at"] is not None for session in self.sessions)
        printed = len({row["session_id"] for row in self.outputs})
        return 1 + len(self.sessions) + ended + printed


class Population:
    """The same seed, size and moment give the same rows.

    Args:
        now: an aware time; nothing is later.
    """

    def __init__(self, size: Size, *, seed: int, now: datetime) -> None:
        self._size = size
        self._random = random.Random(seed)
        self._now = now
        self._left = size.output_bytes
        words = [f"{self._random.getrandbits(32):08x}" for _ in range(997)]
        lines = (" ".join(self._random.choices(words, k=8)) for _ in range(_PRINTED // 73 + 1))
        self._printed = "\n".join(lines)
        self.projects = [f"load-{number:02d}" for number in range(size.projects)]

    def tasks(self) -> Iterator[TaskPast]:
        """Every task with its past, one project after another's turn."""
        places = [(phase, debug) for phase in PHASES for debug in (False, True)]
        held = [
            {place for place in places if self._random.random() < (_HELD_DEBUG if place[1] else _HELD_PHASE)}
            for _ in range(self._size.tasks)
        ]
        history = self._size.sessions - sum(map(len, held))
        if history < 0:
            raise ValueError(f"{self._size.sessions} sessions are fewer than the live ones of {self._size.tasks} tasks")
        past = [[0] * len(places) for _ in held]
        for _ in range(history):
            past[self._random.randrange(len(held))][self._random.randrange(len(places))] += 1
        for number, (live, counts) in enumerate(zip(held, past, strict=True)):
            yield self._task(number, live, dict(zip(places, counts, strict=True)))

    def _task(self, number: int, live: set[tuple[str, bool]], counts: dict[tuple[str, bool], int]) -> TaskPast:
        project = self.projects[number % len(self.projects)]
        days = self._random.uniform(_LATEST_D, _TASK_AGE_D)
        at = self._now - timedelta(days=days)
        task = {
            "id": self._id(at), "project_id": project, "title": f"Task {number}", "milestone": f"m{number % 7}",
            "metadata": "{}", "version": 1, "created_at": at, "updated_at": at,
        }  # fmt: skip
        sessions: list[dict[str, Any]] = []
        outputs: list[dict[str, Any]] = []
        for place, count in counts.items():
            for session in self._chain(task, place, count, live=place in live):
                sessions.append(session)
                outputs += self._output(session)
        return TaskPast(task, sessions, outputs)

    def _chain(self, task: dict[str, Any], place: tuple[str, bool], count: int, *, live: bool) -> list[dict[str, Any]]:
        """Sessions of one place, each replaced by the next; the last one is live or was deleted."""
        total = count + live
        moments = sorted(self._random.random() for _ in range(total + (not live)))
        span = self._now - task["created_at"]
        times = [task["created_at"] + span * moment for moment in moments]
        made = [self._session(task, place, fence, at) for fence, at in enumerate(times[:total], 1)]
        for older, newer in pairwise(made):
            self._end(older, newer["created_at"], by=newer["id"])
        if made and not live:
            self._end(made[-1], times[-1], by=None)
        if made and live:
            made[-1]["slot"] = f"{task['id']}/{place[0]}{'/debug' if place[1] else ''}"
        return made

    def _session(self, task: dict[str, Any], place: tuple[str, bool], fence: int, at: datetime) -> dict[str, Any]:
        model = self._random.choice(MODELS)
        status = self._random.choice(ACTIVE if self._random.random() < 0.5 else TERMINAL)
        return {
            "id": self._id(at), "project_id": task["project_id"], "task_id": task["id"], "phase": place[0],
            "debug": place[1], "slot": None, "model_name": model, "model": f'{{"name":"{model}"}}', "agent": "null",
            "user_id": f"user-{self._random.randrange(50)}", "status": status,
            "version": 1 if status == "pending" else 2, "fence": fence, "metadata": "{}", "output_seq": 0,
            "last_activity_at": at, "head_provider_session_id": None, "created_at": at, "updated_at": at,
            "ended_at": at if status in TERMINAL else None, "deleted_at": None, "deleted_by": None,
            "replaced_by": None, "model_available": True,
        }  # fmt: skip

    @staticmethod
    def _end(session: dict[str, Any], at: datetime, *, by: str | None) -> None:
        if session["status"] not in TERMINAL:
            session |= {"status": "cancelled", "ended_at": at}
        session |= {
            "version": session["version"] + 1, "updated_at": at, "deleted_at": at, "deleted_by": session["user_id"],
            "replaced_by": by,
        }  # fmt: skip

    def _output(self, session: dict[str, Any]) -> Iterator[dict[str, Any]]:
        drawn = self._random.lognormvariate(math.log(self._size.median), SIGMA)
        left = min(SIZE_MAX, max(SIZE_MIN, int(drawn)))
        if left > self._left:
            return
        self._left -= left
        seq = 0
        while left:
            seq, length = seq + 1, min(left, CHUNK)
            left -= length
            start = self._random.randrange(len(self._printed) - CHUNK)
            yield {
                "session_id": session["id"], "seq": seq, "stream": "log",
                "text": self._printed[start : start + length], "at": session["created_at"],
            }  # fmt: skip
        session["output_seq"] = seq

    def _id(self, at: datetime) -> str:
        value = int(at.timestamp() * 1000) << 80 | 0x7 << 76 | self._random.getrandbits(12) << 64
        return str(uuid.UUID(int=value | 0x2 << 62 | self._random.getrandbits(62)))
