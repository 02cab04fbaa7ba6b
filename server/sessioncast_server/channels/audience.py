"""A filter together with what its subscriber may see: who an event is for, in memory and in SQL."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, bindparam, or_, select

from sessioncast_server.broker.base import Route
from sessioncast_server.db.statement import Statement
from sessioncast_server.db.types import IdList, any_of
from sessioncast_shared.events import Kind
from sessioncast_shared.filters import Filter


@dataclass(frozen=True, slots=True)
class Audience:
    """Everybody with the same wishes and rights in one channel.

    Attributes:
        filter: the wishes. The ids in it belong to the channel and were checked against the subscriber's rights.
        threads: whether a filter without ids covers threads too (`threads:read_all`).
        owner: the user whose threads these are; None: whoever's (`threads:read_all`). Ids of threads are a user's own:
            another user may have a thread of the same id.
        key: equal for equal audiences.
    """

    filter: Filter
    threads: bool = False
    owner: str | None = None
    key: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        key = f"{self.filter.canonical()}{'&threads' if self.threads else ''}"
        # No id, kind or flag holds a line feed, and it stands last: no user can be named so that keys are equal.
        object.__setattr__(self, "key", key if self.owner is None else f"{key}\n{self.owner}")

    def wants(self, route: Route) -> bool:
        """Whether an event is for this audience."""
        wishes = self.filter
        if wishes.kinds is not None and route.kind not in wishes.kinds:
            return False
        if route.thread_id is not None and self.owner is not None and route.owner != self.owner:
            return False
        if wishes.whole_project:
            return route.thread_id is None or self.threads
        return route.task_id in wishes.tasks or route.session_id in wishes.sessions or route.thread_id in wishes.threads

    @property
    def reads_all(self) -> bool:
        """Whether it has threads of others, which `threads:read_all` alone gives a right to."""
        return self.owner is None and (self.threads or bool(self.filter.threads))

    @property
    def ids(self) -> dict[str, Any]:
        """Parameters of `statement`."""
        wishes = self.filter
        lists = {"tasks": wishes.tasks, "sessions": wishes.sessions, "threads": wishes.threads, "kinds": wishes.kinds}
        params: dict[str, Any] = {name: list(ids) for name, ids in lists.items() if ids}
        if self._by_owner:
            params["owner"] = self.owner
        return params

    @property
    def _by_owner(self) -> bool:
        return self.owner is not None and bool(self.threads or self.filter.threads)

    def statement(self, event: Any) -> Statement:
        """The statement that reads this audience's events with `after < offset <= upto`.

        One is compiled per shape of a filter, not per filter.
        """
        return _statement(event, frozenset(self.ids), self.threads)


@cache
def _statement(event: Any, lists: frozenset[str], threads: bool) -> Statement:
    columns = {"tasks": event.c.task_id, "sessions": event.c.session_id, "threads": event.c.thread_id}
    wanted = [any_of(columns[name], bindparam(name, type_=IdList)) for name in sorted(lists & columns.keys())]
    query = select(event).where(
        event.c.project_id == bindparam("channel"),
        event.c.offset > bindparam("after", type_=BigInteger),
        event.c.offset <= bindparam("upto", type_=BigInteger),
    )
    if wanted:
        query = query.where(or_(*wanted))
    elif not threads:
        query = query.where(event.c.kind != Kind.THREAD.value)
    if "owner" in lists:
        query = query.where(or_(event.c.thread_id.is_(None), event.c.owner == bindparam("owner")))
    if "kinds" in lists:
        query = query.where(any_of(event.c.kind, bindparam("kinds", type_=IdList)))
    return Statement(query.order_by(event.c.offset).limit(bindparam("limit", type_=BigInteger)))


EVERYBODY = Audience(Filter(), threads=True)
"""Wants all events of a channel; what the hub itself reads for."""
