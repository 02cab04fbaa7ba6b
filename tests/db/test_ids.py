"""Ids: version 7 UUIDs, unique, and in order of time."""

import time
import uuid

from sessioncast_server.db.ids import new_id


def test_the_layout_is_version_7() -> None:
    """48 bits of milliseconds since 1970, version 7, variant 10 (RFC 9562, section 5.7), over many of them."""
    for _ in range(1000):
        before = time.time_ns() // 1_000_000
        text = new_id()
        after = time.time_ns() // 1_000_000
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert parsed.int >> 76 & 0xF == 7
        assert parsed.int >> 62 & 0b11 == 0b10
        assert before <= parsed.int >> 80 <= after


def test_no_two_are_alike() -> None:
    """Ids made in one millisecond differ, and all 74 random bits are used."""
    made = [uuid.UUID(new_id()).int for _ in range(20_000)]
    assert len(set(made)) == len(made)
    mask = (1 << 76) - 1 & ~(0b11 << 62)
    ones = zeros = 0
    for value in made:
        ones |= value
        zeros |= ~value
    assert ones & mask == mask
    assert zeros & mask == mask
