"""Entity tags and the conditions on them (RFC 9110, sections 8.8.3 and 13.1)."""

import hashlib
import re

from sessioncast_server.problems import Problem, stale
from sessioncast_shared.codes import Code

# RFC 9110, section 8.8.3: entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE
_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_LIST = re.compile(rf"[ \t,]*{_TAG.pattern}(?:[ \t]*,[ \t,]*{_TAG.pattern})*[ \t,]*")
_OURS = re.compile(r'"(0|[1-9][0-9]{0,17})-[0-9a-f]{12}"')
_MAX_LENGTH = 8192


def resource_etag(version: int, body: bytes) -> str:
    """The strong tag of a resource: its version, and a digest for what is derived into its body."""
    return f'"{version}-{hashlib.blake2b(body, digest_size=6).hexdigest()}"'


def log_etag(epoch: str, newest: int | None, floor: int) -> str:
    """The tag of what many resources make: the position of the last event that concerns them.

    Once retention has taken that event (`newest` is None) the log's floor stands for it: also a name that no other
    state had.
    """
    return f'"{epoch}:{f"floor-{floor}" if newest is None else newest}"'


def if_match_version(header: str | None) -> frozenset[int] | None:
    """The versions an `If-Match` lets a change through at; None when any will do (no header, or `*`).

    Only versions are compared: what is derived into a body does not stand against a change. Weak tags never match
    (section 13.1.1), and tags that are not of our making cannot.

    Raises:
        Problem: 412, when the header is malformed or no tag of it can match.
    """
    if header is None or header.strip() == "*":
        return None
    tags = _tags(header)
    if tags is None:
        raise Problem(412, Code.PRECONDITION_FAILED, "If-Match is malformed.")
    ours = [_OURS.fullmatch(tag) for weak, tag in tags if not weak]
    versions = frozenset(int(match[1]) for match in ours if match)
    if not versions:
        raise stale()
    return versions


def none_match(header: str | None, etag: str) -> bool:
    """Whether an `If-None-Match` holds, so that the answer goes out in full; if not, it is 304.

    The comparison is weak (section 13.1.2). A malformed header holds: the full answer is never wrong.
    """
    if header is None:
        return True
    if header.strip() == "*":
        return False
    own = etag.removeprefix("W/")
    return all(tag != own for _, tag in _tags(header) or [])


def _tags(header: str) -> list[tuple[str, str]] | None:
    if len(header) > _MAX_LENGTH or _LIST.fullmatch(header) is None:
        return None
    return _TAG.findall(header)
