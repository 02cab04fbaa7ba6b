"""The groups of a channel, found by what an event is about: never by walking over all of them."""

from collections.abc import Callable, Iterable, Iterator

from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.framing import Framing
from sessioncast_server.channels.group import Group
from sessioncast_server.channels.log import Entry


class Groups:
    """Groups by audience and framing, and an index from ids to those that want them."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], Group] = {}
        self._wide: set[Group] = set()
        # A set only where several want the same id: for a group of one it would be the largest part of it.
        self._by_id: dict[str, Group | set[Group]] = {}

    def __iter__(self) -> Iterator[Group]:
        return iter(tuple(self._groups.values()))

    def __len__(self) -> int:
        return len(self._groups)

    def get(self, audience: Audience, framing: Framing, make: Callable[[Audience, Framing], Group]) -> Group:
        """The group of these, made when there is none."""
        key = (audience.key, framing.key)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = make(audience, framing)
            ids = _ids(group)
            if not ids:
                self._wide.add(group)
            for id_ in ids:
                self._place(id_, group)
        return group

    def discard(self, group: Group) -> None:
        """Forget a group without members."""
        del self._groups[group.audience.key, group.framing.key]
        self._wide.discard(group)
        for id_ in _ids(group):
            place = self._by_id[id_]
            if isinstance(place, set):
                place.discard(group)
            if place is group or not place:
                del self._by_id[id_]

    def sort(self, entries: Iterable[Entry]) -> dict[Group, list[Entry]]:
        """Which groups are to get which of these events."""
        owed: dict[Group, list[Entry]] = {}
        for entry in entries:
            route = entry.route
            for group in self._wide:
                if group.audience.wants(route):
                    owed.setdefault(group, []).append(entry)
            for id_ in (route.task_id, route.session_id, route.thread_id):
                place = None if id_ is None else self._by_id.get(id_)
                if place is None:
                    continue
                for group in place if isinstance(place, set) else (place,):
                    if group.audience.wants(route):
                        events = owed.setdefault(group, [])
                        # A group may be found by the task and by the session.
                        if not events or events[-1] is not entry:
                            events.append(entry)
        return owed

    def _place(self, id_: str, group: Group) -> None:
        place = self._by_id.get(id_)
        if place is None:
            self._by_id[id_] = group
        elif isinstance(place, set):
            place.add(group)
        else:
            self._by_id[id_] = {place, group}


def _ids(group: Group) -> set[str]:
    # A set: clients choose ids of threads, so a thread may have the id of a session.
    wishes = group.audience.filter
    return {*wishes.tasks, *wishes.sessions, *wishes.threads}
