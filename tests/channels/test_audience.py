"""In memory and in SQL an audience wants the same events."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sessioncast_server.channels.audience import Audience
from sessioncast_server.db.transaction import ReadTx, Staged, WriteTx
from sessioncast_shared.filters import Filter
from support.hubs import Rig

IDS = [f"0000000{n}-0000-4000-8000-000000000000" for n in range(4)]
ids = st.lists(st.sampled_from(IDS), max_size=2)
audiences = st.builds(
    lambda tasks, sessions, threads, kinds, all_threads: Audience(
        Filter.of(tasks=tasks, sessions=sessions, threads=threads, kinds=kinds), threads=all_threads
    ),
    ids, ids, ids, st.none() | st.lists(st.sampled_from(["task", "session", "thread"]), min_size=1), st.booleans(),
)  # fmt: skip


async def test_wants_is_what_the_statement_reads(rig: Rig) -> None:
    """For random filters and rights the log gives exactly the events that are wanted live, with the same routes."""

    def emit(tx: WriteTx) -> None:
        for kind in ("task", "session", "thread"):
            for number in range(12):
                # Kind and ids go together as the features make them: only thread events name a thread.
                thread = IDS[number % 4] if kind == "thread" else None
                task = IDS[number % 3] if kind != "thread" else None
                session = IDS[number % 4] if kind == "session" else None
                data = b'{"id":"x"}'
                tx.emit(Staged("p", f"{kind}.x", kind, tx.now, data, None, task, session, thread, None))

    await rig.database.write(emit)
    everything = Audience(Filter(), threads=True)

    def read(tx: ReadTx, audience: Audience) -> list[Any]:
        return rig.log.read(tx, "p", audience, after=0, limit=1000, size=1 << 30).entries

    log = await rig.database.read(read, everything)
    assert len(log) == 36
    found: list[Audience] = []

    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None, database=None)
    @given(audiences)
    def collect(audience: Audience) -> None:
        found.append(audience)

    collect()
    for audience in found:
        assert await rig.database.read(read, audience) == [each for each in log if audience.wants(each.route)]
