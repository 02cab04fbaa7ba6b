"""Replies come out of the bytes that Redis sends, in whatever pieces these arrive, and nothing else does."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessioncast_server.broker.replies import BadReplyError, Replies

NOTHING = object()
BOUND = 10_000

# What a subscribed connection got from Valkey 9: replies, pushes, and a payload that looks like the protocol.
STREAM = (
    b">3\r\n$9\r\nsubscribe\r\n$15\r\nsessioncast:{p}\r\n:1\r\n"
    b"+PONG\r\n"
    b'>3\r\n$7\r\nmessage\r\n$15\r\nsessioncast:{p}\r\n$24\r\n{"v":1}\n{"text":"\r\n+OK"}\r\n'
    b">3\r\n$7\r\nmessage\r\n$15\r\nsessioncast:{p}\r\n$0\r\n\r\n"
    b">3\r\n$11\r\nunsubscribe\r\n$15\r\nsessioncast:{p}\r\n:0\r\n"
    b":2\r\n"
    b"_\r\n"
    b"$5\r\n\r\n>3\r\r\n"
)
NAME = b"sessioncast:{p}"
REPLIES = [
    [b"subscribe", NAME, 1],
    b"PONG",
    [b"message", NAME, b'{"v":1}\n{"text":"\r\n+OK"}'],
    [b"message", NAME, b""],
    [b"unsubscribe", NAME, 0],
    2,
    None,
    b"\r\n>3\r",
]


def fresh() -> Replies:
    """Nothing read yet."""
    return Replies(hiredis.Reader(notEnoughData=NOTHING), nothing=NOTHING, max_bytes=BOUND)


def read(pieces: Iterable[bytes]) -> list[Any]:
    """All replies in the pieces, taken after each."""
    replies = fresh()
    found = []
    for piece in pieces:
        replies.feed(piece)
        found += replies.take()
    return found


def test_what_arrives_at_once_is_taken_at_once() -> None:
    """All whole replies come out in one go, in order; a second look finds nothing."""
    replies = fresh()
    replies.feed(STREAM)
    assert replies.take() == REPLIES
    assert replies.take() == []


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_a_cut_anywhere_changes_nothing(at: int) -> None:
    """Two pieces, cut at any byte, give the replies that one piece gives."""
    assert read((STREAM[:at], STREAM[at:])) == REPLIES


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 64])
def test_pieces_of_any_size_change_nothing(size: int) -> None:
    """Byte by byte, and in small pieces, the replies are the same."""
    assert read(STREAM[start : start + size] for start in range(0, len(STREAM), size)) == REPLIES


@given(st.lists(st.integers(0, len(STREAM)), max_size=20).map(sorted))
def test_odd_pieces_change_nothing(cuts: list[int]) -> None:
    """Nor do pieces of unequal size, empty ones among them."""
    assert read(STREAM[start:end] for start, end in pairwise([0, *cuts, len(STREAM)])) == REPLIES


@pytest.mark.parametrize(
    ("garbage", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "not understood: .*reply type byte"),
        (b"\x00", "not understood: .*reply type byte"),
        (b"$-7\r\n", "not understood: .*length out of range"),
        (b"$x\r\n", "not understood: .*Bad bulk string length"),
        (b":x\r\n", "not understood: .*Bad integer value"),
        (b"%1\r\n*0\r\n:1\r\n", "not understood: TypeError"),
        (b"-ERR no\r\n", "the server answered with an error: ERR no"),
    ],
)
def test_garbage_is_named_after_what_came_before_it(garbage: bytes, why: str) -> None:
    """What arrived in order is taken first; from then on the fault is raised, whatever else arrives."""
    replies = fresh()
    replies.feed(STREAM + garbage)
    assert replies.take() == REPLIES
    for _ in range(2):
        with pytest.raises(BadReplyError, match=why):
            replies.take()


@pytest.mark.parametrize(
    ("head", "more"), [(b">3\r\n$7\r\nmessage\r\n$1\r\np\r\n$999999999\r\n", b"x"), (b"*999999\r\n", b":1\r\n")]
)
def test_a_reply_without_end_is_given_up(head: bytes, more: bytes) -> None:
    """One long string, or a list of ever more small things: over the bound it is a fault, up to it none."""
    replies = fresh()
    replies.feed(head)
    fed = len(head)
    while fed + len(more) <= BOUND:
        replies.feed(more)
        fed += len(more)
        assert replies.take() == []
    replies.feed(more)
    with pytest.raises(BadReplyError, match="a reply of more than 10000 bytes"):
        replies.take()


def test_the_bound_is_of_one_reply() -> None:
    """Any number of whole replies may arrive, together or one by one."""
    assert read([STREAM * 100]) == REPLIES * 100
    assert read([STREAM] * 100) == REPLIES * 100


def test_what_the_parser_holds_already_is_not_lost() -> None:
    """Replies that another reader of the same connection had fed to the parser come out first."""
    parser = hiredis.Reader(notEnoughData=NOTHING)
    parser.feed(STREAM[:100])
    replies = Replies(parser, nothing=NOTHING, max_bytes=BOUND)
    first = replies.take()
    assert first == REPLIES[: len(first)] != []
    replies.feed(STREAM[100:])
    assert first + replies.take() == REPLIES


def test_a_length_that_no_memory_holds_is_a_fault() -> None:
    """The parser makes room for a list when it is announced; that there is none is the server's fault, not a bug."""

    class Full:
        def feed(self, data: bytes, /) -> None: ...

        def gets(self) -> Any:
            raise MemoryError

    with pytest.raises(BadReplyError, match="not understood: MemoryError"):
        Replies(Full(), nothing=NOTHING, max_bytes=BOUND).take()
