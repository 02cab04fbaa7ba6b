"""The soak finds a server as it was before, and would notice if it were not."""

import asyncio
import gc
import json
import sys
from pathlib import Path

import pytest

from crowd.frames import Message
from endurance.auditors import Auditor
from endurance.figures import BOUNDS, Figures, grown, judge, table
from endurance.watched import census

ROOT = Path(__file__).parents[2]


def figures(**other: float) -> Figures:
    found: Figures = dict.fromkeys(BOUNDS, 10.0) | {"resident bytes": 100e6, "objects": 10_000.0}
    return found | {name.replace("_", " "): value for name, value in other.items()}


@pytest.mark.timeout(180)
async def test_a_short_run_finds_everything_back(tmp_path: Path) -> None:
    """Twenty seconds of a hundred clients that come and go: all is back, no event was lost, every kind came."""
    report = tmp_path / "soak.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable, ROOT / "loadtests" / "soak.py", "--minutes", "0.33", "--visitors", "100", "--stay", "1",
        "--json", str(report), cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    found = json.loads(report.read_text())
    assert found["good"]
    assert {row["name"] for row in found["rows"]} == set(BOUNDS)
    peaks = {row["name"]: row["peak"] for row in found["rows"]}
    assert peaks["subscribers"] > 0 < peaks["channels"]
    numbers = found["numbers"]
    for kind in ("SSE, closed", "WebSocket, reset", "SSE, never read", "WebSocket, read slowly", "poll", "answers 201"):
        assert numbers[kind] > 0, kind
    assert numbers["events audited"] > 100


@pytest.mark.parametrize(
    "leak",
    [
        {"resident_bytes": 120e6}, {"descriptors": 11}, {"threads": 11}, {"tasks": 15}, {"timers": 20},
        {"objects": 20_000}, {"subscribers": 11}, {"channels": 11}, {"ring_bytes": 11}, {"streams_opening": 11},
        {"writes_waiting": 11},
    ],
)  # fmt: skip
def test_a_figure_that_does_not_return_is_noticed(leak: dict[str, float]) -> None:
    """Each figure that stays above its bound is said, and no other one with it."""
    rows = judge(figures(), figures(), figures(**leak))
    assert [row.name for row in rows if not row.returned] == [name.replace("_", " ") for name in leak]
    assert table(rows).count("NOT BACK") == 1


def test_what_is_back_is_good() -> None:
    """A peak is no fault, nor is memory within its margin."""
    rows = judge(figures(), figures(resident_bytes=900e6, subscribers=600), figures(resident_bytes=114e6))
    assert all(row.returned for row in rows)
    assert {row.name: row.peak for row in rows}["subscribers"] == 600


class Leaked:
    """What somebody forgot."""

    def __init__(self) -> None:
        self.itself = self


async def test_what_leaked_is_named() -> None:
    """Objects that are kept are found by their type, and a task that does not end is counted."""
    before = census()
    kept = [Leaked() for _ in range(5_000)]
    forgotten = asyncio.create_task(asyncio.Event().wait())
    after = census()
    assert after["tasks"] == before["tasks"] + 1
    assert any(line.endswith(f"+5,000 {__name__}.Leaked") for line in grown(before, after))
    forgotten.cancel()
    del kept
    gc.collect()
    assert not any("Leaked" in line for line in grown(before, census()))


def hear(auditor: Auditor, *offsets: int) -> Auditor:
    for offset in offsets:
        auditor.hear(Message(b"", b'{"position":"e:%d"}' % offset))
    return auditor


def test_an_auditor_notices_what_is_lost_doubled_or_late() -> None:
    """A hole, a repetition, a wrong order and a missing end are faults."""

    def made() -> Auditor:
        return Auditor(0, "e:7", websocket=False)

    assert hear(made(), 8, 9).faults == []
    assert len(hear(made(), 8, 10).faults) == 1
    assert len(hear(made(), 8, 8).faults) == 1
    assert len(hear(made(), 9, 8).faults) == 2
    assert hear(made(), 8, 9).missing("e:11") == 2
    resync = made()
    resync.hear(Message(b"resync", b'{"reason":"slow"}'))
    assert len(resync.faults) == 1


def test_an_auditor_of_a_session_misses_what_it_was_not_told() -> None:
    """Other sessions' events make no hole for it, its own ones do."""
    auditor = hear(Auditor(0, "e:7", websocket=False, session="s"), 9, 12)
    assert auditor.faults == []
    assert auditor.missing(None, ["e:9", "e:12"]) == 0
    assert auditor.missing(None, ["e:9", "e:10", "e:12"]) == 1
