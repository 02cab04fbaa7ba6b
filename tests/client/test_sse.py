"""The parser of event streams: WHATWG HTML, «Interpreting an event stream»."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessioncast.streams.sse import EventTooLongError, ServerSentEvent, SSEParser


def _event(data: str, type_: str = "message", id_: str = "") -> ServerSentEvent:
    return ServerSentEvent(type_, data, id_)


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [_event("a")]),
        (b"data:a\r\rdata:b\r\n\r\ndata:c\n\n", [_event("a"), _event("b"), _event("c")]),
        (b"\xef\xbb\xbfdata: a\n\n", [_event("a")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [_event("a")]),
        (b"data: a\ndata: b\ndata\n\n", [_event("a\nb\n")]),
        (b"data\n\n", [_event("")]),
        (b"data:  two spaces\n\n", [_event(" two spaces")]),
        (b"event: ready\ndata: {}\n\ndata: x\n\n", [_event("{}", "ready"), _event("x")]),
        (b"event: lost\n\ndata: x\n\n", [_event("x")]),
        (b"id: e:1\ndata: a\n\ndata: b\n\n", [_event("a", id_="e:1"), _event("b", id_="e:1")]),
        (b"id: e:1\n\ndata: b\n\n", [_event("b", id_="e:1")]),
        (b"id: e:1\nid\ndata: b\n\n", [_event("b")]),
        (b"id: e:1\ndata: a\n\nid: x\0y\ndata: b\n\n", [_event("a", id_="e:1"), _event("b", id_="e:1")]),
        (b": a comment\ndata: a\n:\n\n", [_event("a")]),
        (b"unknown: x\nDATA: y\ndata: a\n data: z\n\n", [_event("a")]),
        (b"data: a\n\ndata: unfinished\n", [_event("a")]),
        (b"data: a:b\n\n", [_event("a:b")]),
        (b"data: \xff\xc3\xa4\n\n", [_event("�ä")]),
        (b"data: a\x0bb\xc2\x85c\xe2\x80\xa8d\n\n", [_event("a\x0bb\x85c\u2028d")]),
        (b"\n\n\n", []),
        (b"", []),
    ],
)
def test_streams_of_the_standard(stream: bytes, events: list[ServerSentEvent]) -> None:
    """Fields, line ends, the BOM and what is unfinished are read as the standard says."""
    assert SSEParser().feed(stream) == events


@pytest.mark.parametrize(
    ("stream", "retry_ms"),
    [
        (b"retry: 250\n\n", 250),
        (b"retry: 250\nretry: 2.5\nretry: -1\nretry:\nretry: 1s\n", 250),
        ("retry: ٣\n".encode(), None),
        (b"retry: " + b"9" * 5000 + b"\n", None),
    ],
)
def test_retry_takes_digits_only(stream: bytes, retry_ms: int | None) -> None:
    """The last `retry` of ASCII digits counts, whatever else came in that field."""
    parser = SSEParser()
    parser.feed(stream)
    assert parser.retry_ms == retry_ms


def test_an_id_counts_at_the_blank_line_even_without_data() -> None:
    """An id of its own dispatches nothing but moves what a reconnect resumes from, once its event has ended."""
    parser = SSEParser()
    parser.feed(b"id: e:9\n")
    assert parser.last_event_id == ""
    assert parser.feed(b"\n") == []
    assert parser.last_event_id == "e:9"


def test_an_event_is_out_before_the_second_half_of_its_line_end() -> None:
    """A CR ends a line at once; the LF that may follow neither holds the event back nor makes another line."""
    parser = SSEParser()
    assert parser.feed(b"data: a\r\n\r") == [_event("a")]
    assert parser.feed(b"\ndata: b\r") == []
    assert parser.feed(b"\n\r\n") == [_event("b")]


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 100, b"data: 123456789\n" * 10, b"x" * 100])
def test_an_event_over_the_bound_is_refused(stream: bytes) -> None:
    """Neither a line without end nor lines without end can take more memory than the bound."""
    parser = SSEParser(max_bytes=64)
    with pytest.raises(EventTooLongError) as caught:
        _ = [parser.feed(bytes([byte])) for byte in stream]
    assert caught.value.limit == 64


def test_the_bound_is_per_event() -> None:
    """Events below the bound never add up to it."""
    parser = SSEParser(max_bytes=64)
    assert len(parser.feed(b"data: 0123456789\n\n" * 100)) == 100


_pieces = st.lists(
    st.sampled_from(
        [
            b"data",
            b"event",
            b"id",
            b"retry",
            b":",
            b" ",
            b"\r",
            b"\n",
            b"\r\n",
            b"\n\n",
            b"\0",
            b"7",
            b"x",
            b"\xef\xbb\xbf",
        ]
    )
    | st.binary(max_size=3),
    max_size=60,
)


@given(_pieces, st.lists(st.integers(0, 120), max_size=12))
def test_the_cuts_of_the_network_do_not_matter(pieces: list[bytes], cuts: list[int]) -> None:
    """Any bytes, cut anywhere, give the same events, the same last id and the same retry as in one piece."""
    stream = b"".join(pieces)
    whole = SSEParser()
    expected = whole.feed(stream)
    parser = SSEParser()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    events = [event for start, end in pairwise(edges) for event in parser.feed(stream[start:end])]
    assert (events, parser.last_event_id, parser.retry_ms) == (expected, whole.last_event_id, whole.retry_ms)
