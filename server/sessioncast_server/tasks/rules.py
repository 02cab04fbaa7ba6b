"""Rules of metadata: what users keep beside tasks and sessions, as JSON text."""

from typing import Any

import orjson

from sessioncast_server.mergepatch import merge_patch
from sessioncast_server.problems import invalid

MAX_BYTES = 1 << 20
"""What metadata may grow to, patch by patch: every event of its resource carries it."""


def merged_metadata(text: str, patch: dict[str, Any] | None) -> str:
    """Metadata with a patch applied (RFC 7396); None empties it.

    Raises:
        Problem: 422, when it would be larger than `MAX_BYTES`.
    """
    merged = orjson.dumps(merge_patch(orjson.loads(text), patch) or {})
    if len(merged) > max(MAX_BYTES, len(text.encode())):  # what is too large already may at least shrink
        raise invalid("metadata", f"would be larger than {MAX_BYTES} bytes")
    return merged.decode()
