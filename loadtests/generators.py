"""Locust as processes of its own, headless and bounded in time."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenarios import SETTLE_S, Scenario
from swarm.measures import Measures
from swarm.world import write_world

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_FINISH_S = 90.0
"""What a generator may need beyond its time: for its imports, its last requests and what the streams still hear."""


@dataclass(frozen=True, slots=True)
class Load:
    """What all generators measured.

    Attributes:
        window: Unix times between which all users worked.
        watched: by kind of stream: `streams`, `events`, `lost`, `faults`.
        busiest: largest share of a core that a generator used.
    """

    measures: Measures
    watched: dict[str, dict[str, Any]]
    window: tuple[float, float]
    busiest: float


def generate(
    folder: Path, url: str, tasks: dict[str, list[str]], scenario: Scenario, *, processes: int, think: str
) -> Load:
    """Let the users of a scenario work on these tasks.

    Raises:
        RuntimeError: a generator failed; the text has the end of what it said.
        TimeoutError: one did not end.
    """
    world = folder / "world.json"
    write_world(world, tasks)
    running = []
    try:
        for number in range(processes):
            users = scenario.users // processes + (number < scenario.users % processes)
            running.append(_start(folder, number, url, world, scenario, users, f"{number}/{processes}", think))
        deadline = time.monotonic() + scenario.ramp_s + SETTLE_S + scenario.seconds + _FINISH_S
        for number, process in enumerate(running):
            _await(process, folder / f"generator-{number}.log", deadline)
    finally:
        for process in running:
            process.kill()
            process.wait()
    return _merged([json.loads((folder / f"results-{number}.json").read_text()) for number in range(processes)])


def _start(
    folder: Path, number: int, url: str, world: Path, scenario: Scenario, users: int, shard: str, think: str
) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "locust", "--locustfile", str(_LOCUSTFILE), "--headless", "--host", url]
    command += ["--users", str(users), "--spawn-rate", str(users / scenario.ramp_s), "--stop-timeout", "30"]
    command += ["--run-time", f"{round(scenario.ramp_s + SETTLE_S + scenario.seconds)}s", "--exit-code-on-error", "0"]
    command += ["--world", str(world), "--results", str(folder / f"results-{number}.json"), "--shard", shard]
    command += ["--think", think, "--only-summary"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    with (folder / f"generator-{number}.log").open("wb") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)


def _await(process: "subprocess.Popen[bytes]", log: Path, deadline: float) -> None:
    try:
        status = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"a generator did not end: {log.read_text()[-2000:]}") from None
    if status != 0:
        raise RuntimeError(f"a generator ended with {status}: {log.read_text()[-2000:]}")


def _merged(documents: list[dict[str, Any]]) -> Load:
    measures = Measures()
    watched: dict[str, dict[str, Any]] = {}
    for document in documents:
        measures.merge(document)
        for kind, found in document["watched"].items():
            total = watched.setdefault(kind, {"streams": 0, "events": 0, "lost": 0, "faults": {}})
            for name in ("streams", "events", "lost"):
                total[name] += found[name]
            for fault, count in found["faults"].items():
                total["faults"][fault] = total["faults"].get(fault, 0) + count
    began = max(document["window"][0] for document in documents)
    ended = min(document["window"][1] for document in documents)
    return Load(measures, watched, (began, ended), max(document["generator"] for document in documents))
