"""What travels between nodes can be read back, and nothing else can."""

from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessioncast_server.broker.base import Announcement, Route
from sessioncast_server.broker.codec import BadAnnouncementError, Notice, decode, encode
from support.ear import announcement

LARGE = 1 << 20

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ids = st.none() | texts
routes = st.builds(Route, kind=texts, task_id=ids, session_id=ids, thread_id=ids, owner=ids)
bodies = st.dictionaries(texts, texts | st.integers(-(2**53), 2**53), max_size=4).map(orjson.dumps)


@st.composite
def announcements(draw: st.DrawFn) -> Announcement:
    """Announcements of one to eight events."""
    events = draw(st.lists(st.tuples(routes, bodies), min_size=1, max_size=8))
    return Announcement(
        channel=draw(texts),
        epoch=draw(texts),
        first=draw(st.integers(1, 10**18 - 10)),
        routes=tuple(route for route, _ in events),
        bodies=tuple(body for _, body in events),
    )


@given(announcements())
def test_decode_undoes_encode(made: Announcement) -> None:
    """Every announcement comes out as it went in, bodies byte for byte."""
    assert decode(encode(made, max_bytes=LARGE), channel=made.channel, max_bytes=LARGE) == made


@given(announcements(), st.integers(0, 2_000))
def test_nothing_over_the_bound_is_carried(made: Announcement, bound: int) -> None:
    """An announcement over the bound becomes a notice of the same range; one within it stays whole."""
    payload = encode(made, max_bytes=bound)
    read = decode(payload, channel=made.channel, max_bytes=LARGE)
    if isinstance(read, Announcement):
        assert len(payload) <= bound
        assert read == made
    else:
        assert len(encode(made, max_bytes=LARGE)) > bound
        assert read == Notice(made.channel, made.epoch, made.first, made.last)


def test_the_bound_counts_the_header_too() -> None:
    """Bodies that fit by themselves are left out when the header takes the payload over the bound."""
    made = announcement("p", events=3, size=10)
    whole = encode(made, max_bytes=LARGE)
    assert encode(made, max_bytes=len(whole)) == whole
    assert isinstance(decode(encode(made, max_bytes=len(whole) - 1), channel="p", max_bytes=LARGE), Notice)


@given(st.binary(max_size=400))
def test_garbage_is_refused_by_name(garbage: bytes) -> None:
    """Bytes that no node made raise BadAnnouncementError and nothing else."""
    with pytest.raises(BadAnnouncementError):
        decode(garbage, channel="p", max_bytes=LARGE)


@given(announcements(), st.data())
def test_a_damaged_payload_is_refused_by_name_or_read(made: Announcement, data: st.DataObject) -> None:
    """Cutting or changing one byte never raises anything else."""
    payload = encode(made, max_bytes=LARGE)
    at = data.draw(st.integers(0, len(payload) - 1))
    damaged = payload[:at] + data.draw(st.sampled_from([b"", b"\n", b'"', b"\xff", b"0"])) + payload[at + 1 :]
    with suppress(BadAnnouncementError):
        decode(damaged, channel=made.channel, max_bytes=LARGE)


HEADER = {"v": 1, "channel": "p", "epoch": "e", "first": 1, "last": 1, "routes": [["session", None, None, None, None]]}


@pytest.mark.parametrize(
    ("change", "bodies", "why"),
    [
        ({"v": 2}, b"\n{}", "another version"),
        ({"v": None}, b"\n{}", "another version"),
        ({"channel": "q"}, b"\n{}", "of another channel"),
        ({"epoch": 7}, b"\n{}", "the header lacks a member"),
        ({"first": 0}, b"\n{}", "offsets out of order"),
        ({"first": 2}, b"\n{}", "offsets out of order"),
        ({"last": 2}, b"\n{}", "events are missing or too many"),
        ({}, b"", "events are missing or too many"),
        ({}, b"\n{}\n{}", "events are missing or too many"),
        ({}, b"\n", "an event is empty"),
        ({"routes": None}, b"\n{}", "events are missing or too many"),
        ({"routes": {}}, b"\n{}", "events are missing or too many"),
        ({"routes": [["session"]]}, b"\n{}", "a route is malformed"),
        ({"routes": [[None, None, None, None, None]]}, b"\n{}", "a route is malformed"),
        ({"routes": [["session", 1, None, None, None]]}, b"\n{}", "a route is malformed"),
        ({"routes": ["abcde"]}, b"\n{}", "a route is malformed"),
        ({}, b"\n" + b" " * 10_000, "too large"),
    ],
)
def test_each_fault_is_told_apart(change: dict[str, object], bodies: bytes, why: str) -> None:
    """A header that lies is refused, with the reason that the log shows."""
    with pytest.raises(BadAnnouncementError, match=why):
        decode(orjson.dumps(HEADER | change) + bodies, channel="p", max_bytes=5_000)


def test_the_header_of_the_table_is_right_without_its_changes() -> None:
    """The table above starts from a header that is accepted, so each change is what is refused."""
    read = decode(orjson.dumps(HEADER) + b"\n{}", channel="p", max_bytes=5_000)
    assert read == Announcement("p", "e", 1, (Route("session"),), (b"{}",))
