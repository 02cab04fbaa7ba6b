"""What is known of the sessions that a subscription watches, as far as the pace of polls depends on it."""

from sessioncast.streams.items import Item, Snapshot
from sessioncast_shared.events import Event, EventType

_SESSION = frozenset(
    {
        EventType.SESSION_CREATED.value,
        EventType.SESSION_UPDATED.value,
        EventType.SESSION_REPLACED.value,
        EventType.SESSION_DELETED.value,
        EventType.SESSION_RESUMED.value,
    }
)


class Statuses:
    """Statuses of live sessions, by id.

    Attributes:
        changed: something was told since this was last set to False.
    """

    def __init__(self) -> None:
        self.changed = False
        self._known: dict[str, str] = {}

    @property
    def now(self) -> list[str]:
        """The statuses."""
        return list(self._known.values())

    def take(self, item: Item) -> None:
        """An item of the subscription."""
        match item:
            case Snapshot(too_large=False):
                self.changed = True
                self._known = {session.id: str(session.status) for session in item.sessions}
            case Event(type=type_, data=data):
                self.changed = True
                if type_ in _SESSION:
                    self._session(data)

    def _session(self, data: dict[str, object]) -> None:
        id_, status = str(data.get("id")), str(data.get("status"))
        if data.get("deleted_at") is None:
            self._known[id_] = status
        else:
            self._known.pop(id_, None)
