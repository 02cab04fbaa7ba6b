"""Bytes of a command become lines of text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessioncast.cli.lines import LineCutter


@pytest.mark.parametrize(
    ("output", "texts"),
    [
        (b"", []),
        (b"a\nb\n", ["a\n", "b\n"]),
        (b"a\r\nb", ["a\r\n", "b"]),
        (b"\n\n", ["\n", "\n"]),
        (b"0123456789ab", ["01234567", "89ab"]),
        (b"01234567\n", ["01234567", "\n"]),
        (b"0123456\n", ["0123456\n"]),
        (b"a\0b\xff\n", ["a�b�\n"]),
        ("0123456ä\n".encode(), ["0123456", "ä\n"]),
        (b"\xc3", ["�"]),
        (b"\xc3\n", ["�\n"]),
    ],
)
def test_a_piece_ends_with_its_newline(output: bytes, texts: list[str]) -> None:
    """Lines keep their ends; long ones are cut between characters; what is no text is replaced, not lost."""
    cutter = LineCutter(line_bytes=8)
    assert cutter.feed(output) + cutter.finish() == texts


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"\n", b"\0", "ä€😀".encode(), b"\xf0\x9f"]), max_size=30))
def test_the_pieces_joined_are_the_output(reads: list[bytes]) -> None:
    """However the pipe cuts the output, no piece but the last is without a reason to end, and nothing is lost."""
    cutter = LineCutter(line_bytes=8)
    texts = [text for read in reads for text in cutter.feed(read)] + cutter.finish()
    assert "".join(texts) == b"".join(reads).decode(errors="replace").replace("\0", "�")
    assert all("\n" not in text[:-1] and text for text in texts)
