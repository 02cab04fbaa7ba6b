"""The benchmark of our own client works: every subscription hears its events, every reader reads the whole stream."""

import itertools
from pathlib import Path

from listening.mirror import BARE, TRANSPORTS, Followed, ratios, readers
from listening.recording import Recording, carried_on
from support.loading import figures_of

_SMALL = (
    *("--subscriptions", "6", "--seconds", "1", "--rate", "8"),
    *("--events", "300", "--recorded", "40", "--rounds", "1"),
)


async def test_a_short_run_measures_our_client(tmp_path: Path) -> None:
    """Over both transports events are heard, and the mirror ends as the stream does, or the run would have failed."""
    figures, printed = await figures_of("clients.py", tmp_path, *_SMALL)
    assert [(row["transport"], row["subscriptions"]) for row in figures["held"]] == [("websocket", 6), ("sse", 6)]
    assert all(0 < row["heard"] <= row["published"] == 12 for row in figures["held"])
    names = [name for transport in TRANSPORTS for name in readers(transport)]
    assert [row["reader"] for row in figures["followed"]] == names
    assert all(row["cpu_us"] > 0 for row in figures["followed"])
    assert f"live(), sse: processor time per event to {BARE['sse']}: " in printed


def test_a_recording_goes_on_as_it_went() -> None:
    """Each round's events are later, and its versions and output follow those of the round before."""
    output = {"type": "session.output", "position": "e:5", "session_id": "s", "version": 1}
    output |= {"data": {"first": 3, "last": 4, "chunks": [{"seq": 3}, {"seq": 4}]}}
    updated = {"type": "session.updated", "position": "e:6", "session_id": "s", "version": 2}
    updated |= {"data": {"version": 2, "output_seq": 4}}
    recording = Recording(b"opening", [output, updated], {"s": ((1, 2), (2, 4))})
    played = carried_on(recording, 5)
    stream = b"".join(played.pieces)
    frames = stream.removeprefix(b"opening").split(b"\n\n")[:-1]
    assert [frame.partition(b"\n")[0] for frame in frames] == [b"id: e:%d" % offset for offset in range(5, 10)]
    assert played.position == "e:9"
    assert played.sessions == {"s": (3, 8)}
    assert b'"first":7,"last":8,"chunks":[{"seq":7},{"seq":8}]' in frames[4]
    assert recording.events[0]["data"]["first"] == 3, "what was recorded was changed"


def test_ratios_are_of_rounds() -> None:
    """A reader is compared with the bare one of the same round."""
    rows = itertools.product((1, 2), (("ours", 30.0), ("bare", 10.0)))
    found = [Followed(name, number, 1.0, cost * number if name == "bare" else cost) for number, (name, cost) in rows]
    assert ratios(found, "ours", "bare") == [3.0, 1.5]
