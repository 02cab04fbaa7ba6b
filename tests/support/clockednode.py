"""A node in the test's own process, whose leases run by the test's clock."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.testclient import TestClient

from sessioncast_server.app import Application
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.providers.keeper import Keeper
from sessioncast_server.providers.meter import Meter
from sessioncast_server.providers.service import open_leases
from sessioncast_server.settings import load
from sessioncast_server.turns.service import held_places
from support.api import SECRET, Api
from support.node import PATIENT

_URL = "http://localhost"


class ClockedNode:
    """The node.

    Attributes:
        now: seconds, by that clock.
    """

    def __init__(self, url: str, application: Application, client: TestClient) -> None:
        self.now = 0.0
        self.api = Api(_URL, database=url.partition(":")[0], shared=client)
        self._client = client
        self._database = application.database
        self._keeper = Keeper(
            application.database, Meter(Metrics()), look_s=1, ended=lambda: None, clock=lambda: self.now
        )

    def look(self) -> tuple[int, int]:
        """Let it look for leases that have run out: how many provider sessions are open, and places without one."""
        portal = self._client.portal
        assert portal is not None
        portal.call(self._keeper.look)
        found = [len(portal.call(self._database.observe, leases, "", 1000)) for leases in (open_leases, held_places)]
        return found[0], found[1]


@contextmanager
def serving(url: str) -> Iterator[ClockedNode]:
    """A node on a migrated database; it never looks for leases by itself."""
    application = Application(
        load(
            {
                **PATIENT,
                "SESSIONCAST_DATABASE_URL": url,
                "SESSIONCAST_JWT_SECRET": SECRET,
                "SESSIONCAST_LEASE_LOOK_S": "86400",
                "SESSIONCAST_REPLAY_MAX_EVENTS": "1000000",
                "SESSIONCAST_REPLAY_MAX_BYTES": "1000000000",
            }
        )
    )
    with TestClient(application.asgi, base_url=_URL) as client:
        yield ClockedNode(url, application, client)
