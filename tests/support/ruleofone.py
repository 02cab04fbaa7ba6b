"""The single-session rule as a plain Python model: what a server should have, written a second time and simply."""

from dataclasses import dataclass, field, replace
from typing import Any

TERMINAL = ("completed", "failed", "cancelled")
Place = tuple[str, str, bool]
"""Task, phase, debug."""


@dataclass(frozen=True)
class Known:
    """A session as it should be."""

    place: Place
    model: dict[str, Any]
    made: int
    slotted: bool = True
    status: str = "pending"
    version: int = 1
    fence: int = 1
    metadata: dict[str, Any] = field(default_factory=dict)
    output: int = 0
    available: bool = True
    deleted: bool = False
    replaced_by: str | None = None

    @property
    def active(self) -> bool:
        """Whether work may still happen."""
        return self.status not in TERMINAL

    def gone(self, replaced_by: str | None) -> "Known":
        """As it is once deleted."""
        status = "cancelled" if self.active else self.status
        return replace(
            self, deleted=True, slotted=False, status=status, version=self.version + 1, replaced_by=replaced_by
        )

    def shown(self) -> dict[str, Any]:
        """What a server should show of it, ids and times apart."""
        lost = {} if self.available else {"available": False, "label": "Model Not Found"}
        return {
            "task_id": self.place[0],
            "phase": self.place[1],
            "debug": self.place[2],
            "model": self.model | lost,
            "status": self.status,
            "active": self.active,
            "version": self.version,
            "fence": self.fence,
            "metadata": self.metadata,
            "output_seq": self.output,
            "replaced_by": self.replaced_by,
        }


def differs(old: dict[str, Any], new: dict[str, Any]) -> str:
    """`same`, `minor` or `changed`, for models with a version `N.N` and a parameter or two."""
    if old == new:
        return "same"
    major = [str(model.get("version", "")).partition(".")[0] for model in (old, new)]
    heat = [model.get("params", {}).get("temperature") for model in (old, new)]
    big = old["name"] != new["name"] or major[0] != major[1] or heat[0] != heat[1]
    return "changed" if big else "minor"


class RuleOfOne:
    """All sessions and models of a project.

    Attributes:
        sessions: by id.
        models: names that were ever registered, and whether they still are.
        single: whether the flag is on.
    """

    def __init__(self) -> None:
        self.sessions: dict[str, Known] = {}
        self.models: dict[str, bool] = {}
        self.single = True
        self._made = 0

    def live(self, place: Place) -> list[str]:
        """Ids of the live sessions of a place, newest first."""
        ids = [id_ for id_, known in self.sessions.items() if known.place == place and not known.deleted]
        return sorted(ids, key=lambda id_: -self.sessions[id_].made)

    def takes(self, name: str) -> bool:
        """Whether sessions may start with a model of this name."""
        return self.models.get(name, not any(self.models.values()))

    def answer(self, place: Place, wish: dict[str, Any]) -> tuple[int, str]:
        """Status and outcome or code of a start, by the table."""
        if not self.takes(wish["model"]["name"]):
            return 422, "model_not_found"
        live = self.live(place)
        if not self.single or not live:
            return 201, "created"
        known = self.sessions[live[0]]
        on_conflict, difference = wish.get("on_conflict", "ask"), differs(known.model, wish["model"])
        if on_conflict == "reject":
            return 409, "session_active"
        counts = difference == "changed" or (difference == "minor" and wish.get("treat_minor_as_change", False))
        if not counts and on_conflict != "restart":
            return 200, "existing"
        confirmed = wish.get("confirm", {}).get("session_id")
        if confirmed is None or on_conflict == "ask":
            return 409, "model_change_requires_confirmation"
        return (201, "replaced") if confirmed == live[0] else (409, "session_changed")

    def start(self, place: Place, model: dict[str, Any], id_: str) -> list[tuple[str, str]]:
        """A start made a session; the events it should have."""
        old = self.live(place)[0] if self.single and self.live(place) else None
        fence, events = 1, []
        if old is not None:
            fence = self.sessions[old].fence + 1
            self.sessions[old] = self.sessions[old].gone(id_)
            events.append(("session.replaced", old))
        self._made += 1
        self.sessions[id_] = Known(place, model, self._made, slotted=self.single, fence=fence)
        return [*events, ("session.created", id_)]

    def change(self, id_: str, **changes: Any) -> list[tuple[str, str]]:
        """A session was changed by a patch."""
        known = self.sessions[id_]
        changed = replace(known, **changes)
        if changed == known:
            return []
        self.sessions[id_] = replace(changed, version=known.version + 1)
        return [("session.updated", id_)]

    def patched(self, id_: str, changes: dict[str, Any]) -> tuple[int, str]:
        """Status and code of the answer to a patch."""
        known = self.sessions[id_]
        if known.deleted:
            return 409, "session_deleted" if known.replaced_by is None else "session_replaced"
        status = changes.get("status", known.status)
        if status != known.status and (not known.active or status == "pending"):
            return 409, "illegal_transition"
        changed = status != known.status or known.metadata | changes.get("metadata", {}) != known.metadata
        if changed and known.active and status not in TERMINAL and not known.available:
            return 422, "model_not_found"
        return 200, ""

    def delete(self, id_: str) -> list[tuple[str, str]]:
        """A session was deleted."""
        if self.sessions[id_].deleted:
            return []
        self.sessions[id_] = self.sessions[id_].gone(None)
        return [("session.deleted", id_)]

    def register(self, name: str, *, registered: bool) -> list[tuple[str, str]]:
        """A model was registered or deleted; sessions follow in the order of their ids."""
        if self.models.get(name, not registered) is registered:
            return []
        self.models[name] = registered
        events = [("model.registered" if registered else "model.deleted", "")]
        for id_ in sorted(self.sessions):
            known = self.sessions[id_]
            if known.model["name"] != name:
                continue
            if known.deleted:  # it shows its model's fate, but nothing happens to it
                self.sessions[id_] = replace(known, available=registered)
            elif known.available is not registered:
                self.sessions[id_] = replace(known, available=registered, version=known.version + 1)
                events.append(("session.updated", id_))
        return events

    def switch(self, *, single: bool) -> set[tuple[str, str]]:
        """The flag was changed; once it is on the newest session of each place replaces the others."""
        self.single = single
        events = set()
        if single:
            for place in {known.place for known in self.sessions.values()}:
                newest, *others = self.live(place) or [""]
                for id_ in others:
                    self.sessions[id_] = self.sessions[id_].gone(newest)
                    events.add(("session.replaced", id_))
                if newest:
                    self.sessions[newest] = replace(self.sessions[newest], slotted=True)
        return events
