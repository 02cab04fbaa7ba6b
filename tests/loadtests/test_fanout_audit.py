"""The auditors of the benchmark of fan-out notice what goes wrong on a stream."""

import pytest

from crowd.audit import Auditor, MarkParser, mark
from crowd.frames import BrokenStreamError, SseParser, WsParser, masked

_SSE_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
_WS_HEAD = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


def chunk(text: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(text), text)


def event(*numbers: int, connection: int = 0) -> bytes:
    return b"".join(b'id: 1\ndata: {"text":"%s"}\n\n' % mark(connection, number) for number in numbers)


def frame(text: bytes, first: int = 0x81) -> bytes:
    size = len(text)
    return bytes([first]) + (bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2)) + text


def heard(*numbers: int) -> Auditor:
    auditor = Auditor(SseParser)
    auditor.feed(_SSE_HEAD)
    for number in numbers:
        auditor.feed(chunk(event(number)))
    return auditor


def test_all_in_order_is_no_fault() -> None:
    """Events in order, of two connections in each other's way, are all counted and none is missed."""
    auditor = heard(1, 2)
    auditor.feed(chunk(event(1, connection=1)) + chunk(event(3)))
    assert (auditor.events, auditor.lost, auditor.doubled, auditor.missing({0: 3, 1: 1})) == (4, 0, 0, 0)


def test_a_lost_event_is_noticed() -> None:
    """A hole is a loss, and so is an event that never came at the end."""
    assert heard(1, 3).lost == 1
    assert heard(1, 2).missing({0: 3}) == 1
    assert heard(1).missing({0: 1, 1: 1}) == 1


def test_a_doubled_event_is_noticed() -> None:
    """The same event again, or an older one, is no delivery."""
    again = heard(1, 2, 2)
    assert (again.events, again.doubled, again.lost) == (2, 1, 0)
    assert heard(1, 2, 1).doubled == 1


def test_a_resync_is_noticed() -> None:
    """A server that says that there is a hole is counted by both transports."""
    auditor = heard(1)
    auditor.feed(chunk(b'event: resync\ndata: {"reason":"slow"}\n\n'))
    assert auditor.resyncs == 1
    other = Auditor(WsParser)
    other.feed(_WS_HEAD + frame(b'{"op":"resync","key":"p?"}'))
    assert other.resyncs == 1


def test_any_cut_of_the_bytes_gives_the_same_events() -> None:
    """Bytes that arrive one by one, across chunks and frames, are the same messages as all at once."""
    sse = _SSE_HEAD + chunk(event(1)[:9]) + chunk(event(1)[9:] + event(2))
    ws = _WS_HEAD + frame(b'{"a":"%s"}' % mark(0, 1)) + frame(b"", 0x89) + frame(b'["%s' % mark(0, 2), 0x01)
    ws += frame(b'x"]' + b" " * 200, 0x80)
    for parser, data in ((SseParser, sse), (WsParser, ws)):
        whole, cut = Auditor(parser), Auditor(parser)
        whole.feed(data)
        for place in range(len(data)):
            cut.feed(data[place : place + 1])
        assert (whole.events, whole.lost) == (cut.events, cut.lost) == (2, 0)


@pytest.mark.parametrize(
    ("parser", "data"),
    [
        (SseParser, b"HTTP/1.1 503 Busy\r\n\r\n"),
        (SseParser, _SSE_HEAD + b"zz\r\n"),
        (WsParser, b"HTTP/1.1 403 Forbidden\r\n\r\n"),
        (WsParser, _WS_HEAD + masked(b"a client's frame")),
        (WsParser, _WS_HEAD + frame(b"{}", 0x80)),
        (WsParser, _WS_HEAD + frame(b"\x03\xe9", 0x88)),
    ],
)
def test_bytes_that_are_no_stream_are_refused(parser: type[SseParser | WsParser], data: bytes) -> None:
    """A refusal, a malformed chunk, a masked frame, a fragment of nothing and a close end the auditor."""
    with pytest.raises(BrokenStreamError):
        Auditor(parser).feed(data)


def test_marks_alone_are_found_in_any_cut() -> None:
    """Who only times arrivals hears every event once, wherever the bytes are cut."""
    data = _SSE_HEAD + chunk(event(1)) + chunk(event(2, 3)) + b"@"
    auditor = Auditor(MarkParser)
    for place in range(len(data)):
        auditor.feed(data[place : place + 1])
    assert (auditor.events, auditor.lost, auditor.doubled) == (3, 0, 0)


def test_what_is_no_json_is_refused() -> None:
    """A thorough auditor reads what it hears."""
    with pytest.raises(ValueError, match="delimiter"):
        Auditor(WsParser).feed(_WS_HEAD + frame(b'{"text":"%s" "}' % mark(0, 1)))


def test_latency_counts_from_the_instant_an_event_was_due() -> None:
    """An event that came a second after it was due took a second, whenever it was sent."""
    auditor = Auditor(SseParser)
    auditor.schedule = {(0, 1): -1e6}
    auditor.feed(_SSE_HEAD + chunk(event(1, 2)))
    assert len(auditor.latencies) == 1
    assert auditor.latencies[0] > 1e6
