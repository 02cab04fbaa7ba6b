"""What a client tells its server of its own troubles, so that they are in a log that somebody reads."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sessioncast.afterwards import Afterwards
from sessioncast.sender import Sender
from sessioncast.stats import Counters
from sessioncast_shared.filters import Filter

if TYPE_CHECKING:
    from sessioncast.streams.subscription import Subscription

_log = logging.getLogger("sessioncast")

_WITHIN_S = 60.0
"""A report that could not be told for so long is not told any more."""


class Reports:
    """Sends them in the background; that one is lost matters to nobody."""

    def __init__(self, sender: Sender, afterwards: Afterwards, counters: Counters) -> None:
        self._sender = sender
        self._afterwards = afterwards
        self._counters = counters

    def stale(self, project: str, wanted: Filter, subscription: "Subscription") -> None:
        """Nothing was heard for too long."""
        now = datetime.now(UTC)
        at = subscription.heard_at
        heard_at = None if at is None else now - timedelta(seconds=asyncio.get_running_loop().time() - at)
        body = {"heard_at": None if heard_at is None else heard_at.isoformat(), "transport": subscription.transport}
        self._tell("stale", project, wanted, now, "nothing was heard for too long; connecting again", **body)

    def mismatch(self, project: str, wanted: Filter, what: str) -> None:
        """A mirror was wrong, and is right again."""
        self._tell("mismatch", project, wanted, datetime.now(UTC), what)

    def _tell(self, kind: str, project: str, wanted: Filter, at: datetime, what: str, **more: Any) -> None:
        about = wanted.canonical()
        message = f"{project}{'?' if about else ''}{about}: {what}"
        heard = f" (last heard {more['heard_at']})" if more.get("heard_at") else ""
        _log.warning("%s: %s, at %s%s", kind, message, at.isoformat(), heard)
        self._counters.reports += 1
        body = {"kind": kind, "at": at.isoformat(), "message": message[:2000]}
        if len(wanted.sessions) == 1:
            body["session_id"] = wanted.sessions[0]
        body |= {name: value for name, value in more.items() if value is not None}
        telling = self._sender.send("POST", "/v1/client-reports", body=body, deadline_s=_WITHIN_S)
        self._afterwards.add(telling, within_s=_WITHIN_S, waited_for=False)
