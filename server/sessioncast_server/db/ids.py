"""Ids of rows."""

import os
import random
import time
import uuid

# Seeded by the kernel once: asking it for each id is a system call in the midst of a write. Ids need not be secret.
_RANDOM = random.Random(os.urandom(32))  # noqa: S311  the same
os.register_at_fork(after_in_child=lambda: _RANDOM.seed(os.urandom(32)))


def new_id() -> str:
    """A UUID of version 7 (RFC 9562, section 5.7): new rows land beside each other in an index. Never reused."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | _RANDOM.getrandbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
