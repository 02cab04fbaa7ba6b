"""What a server tells and shows of provider sessions, held against the model."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Any

from support.api import Api
from support.providermodel import Line, ProviderModel, totals

_TOLD_ONLY = ("head_provider_session_id", "totals", "reason", "attempt")
"""What events of provider sessions tell beside the resource."""
_DECISIONS = ("session.resume_decided", "provider_session.resume_failed")


class Told:
    """What the events of a project amount to.

    Attributes:
        rows: provider sessions, by id.
        heads: ids that sessions were last told to have.
        versions: by number.
        decisions: how many there were, and how many failures.
    """

    def __init__(self, api: Api, project: str) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.heads: dict[str, str | None] = {}
        self.versions: dict[int, dict[str, Any]] = {}
        self.decisions: Counter[str] = Counter()
        self._api = api
        self._project = project
        epoch = api.get(f"/v1/projects/{project}").headers["X-Position"].partition(":")[0]
        self._position = f"{epoch}:0"

    def read(self) -> list[dict[str, Any]]:
        """The events since the last time."""
        events: list[dict[str, Any]] = []
        more = True
        while more:
            page = self._poll(position=self._position, snapshot="never")
            assert page["state"] == "resumed"
            self._position, more = page["position"], page["more"]
            events += page["events"]
        for event in events:
            self._reflect(event)
        return events

    def _poll(self, **params: str) -> Any:
        path, accept = f"/v1/projects/{self._project}/events", {"Accept": "application/json"}
        return self._api.ok(self._api.get(path, params=params, headers=accept), 200)

    def agrees(self, model: ProviderModel) -> None:
        """Rows, heads and versions are the model's."""
        wanted = {row.id: row.shown() for row in model.rows.values()}
        assert {id_: {name: row[name] for name in wanted[id_]} for id_, row in self.rows.items()} == wanted
        assert self.heads == {chain.id: chain.head_id for chain in model.chains.values()}
        found = [[version["session_id"], version["ai_session_id"]] for version in self.versions.values()]
        assert found == model.versions

    def _reflect(self, event: dict[str, Any]) -> None:
        type_, data = event["type"], event["data"]
        self.decisions[type_] += type_ in _DECISIONS
        if type_.startswith("provider_session."):
            assert event["session_id"] == data["session_id"]
            before = self.rows.get(data["id"], {"state": "open", "fence": data["fence"]})
            row = {name: value for name, value in data.items() if name not in _TOLD_ONLY}
            self.rows[row["id"]] = row
            self.heads[row["session_id"]] = data["head_provider_session_id"]
            assert row["fence"] == before["fence"]
            ends = row["state"] != before["state"]
            assert (type_ == "provider_session.ended") is ends, (type_, before, row)
            if row["task_id"] is not None and (ends or data.get("totals") is not None):
                theirs = [one for one in self.rows.values() if one["task_id"] == row["task_id"]]
                assert data["totals"] == totals(theirs)
        elif type_.startswith("version."):
            self.versions[data["number"]] = data
        elif type_.startswith("session."):
            self.heads[data["id"]] = data["head_provider_session_id"]

    def is_shown(self, model: ProviderModel, tasks: Sequence[str]) -> None:
        """At the end: every way to ask has the same answer."""
        get = partial(_get, self._api)
        rows = list(self.rows.values())
        for chain in model.chains.values():
            shown = get(f"/v1/sessions/{chain.id}/chain", limit=200)
            theirs = [self.rows[row.id] for row in model.rows_of(chain.id)]
            assert shown["data"] == theirs
            assert shown["head"] == (None if chain.head is None else self.rows[chain.head])
            session = get(f"/v1/sessions/{chain.id}")
            assert (session["fence"], session["head_provider_session_id"]) == (chain.fence, chain.head_id)
            _adds_up(get(f"/v1/sessions/{chain.id}/metrics"), theirs)
            lines = get(f"/v1/projects/{self._project}/audit", session=chain.id, limit=200)["data"]
            assert _in_order([_line(line) for line in reversed(lines)]) == _in_order(chain.lines)
        for number, task in enumerate(tasks):
            theirs = [row for row in rows if row["task_id"] == task]
            _adds_up(get(f"/v1/tasks/{task}/metrics"), theirs)
            label = "nm"[number]
            theirs = [row for row in rows if row["milestone"] == label or (number and row["task_id"] == task)]
            _adds_up(get(f"/v1/projects/{self._project}/milestones/{label}/metrics"), theirs)
        _adds_up(get(f"/v1/projects/{self._project}/metrics"), rows)
        page = self._api.get(
            f"/v1/projects/{self._project}/events",
            params={"snapshot": "always"},
            headers={"Accept": "application/json"},
        ).json()
        resources = {one["data"]["id"]: one["data"] for one in page["resources"]}
        for chain in model.chains.values():
            if not chain.gone:
                assert resources[chain.id]["head_provider_session_id"] == chain.head_id
                if chain.head is not None:
                    assert resources[chain.head] == self.rows[chain.head]
        if self.versions:
            latest = get(f"/v1/projects/{self._project}/versions/latest")
            assert latest == self.versions[len(self.versions)]
            assert (latest["ai_session_created_at"] is None) is (latest["ai_session_id"] is None)
            chain = model.chains[latest["session_id"]]
            if chain.head is not None and not chain.gone:
                assert latest["ai_session_last_used_at"] == self.rows[chain.head]["last_used_at"]
                assert latest["ai_session_created_at"] <= latest["ai_session_last_used_at"]


def _get(api: Api, path: str, **params: Any) -> Any:
    return api.ok(api.get(path, params=params), 200)


def _adds_up(shown: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    wanted = totals(rows)
    assert {name: shown[name] for name in wanted} == wanted
    assert sorted(shown["sessions"], key=_id) == sorted(rows, key=_id)
    starts = [row["started_at"] for row in shown["sessions"]]
    assert starts == sorted(starts)


def _id(row: dict[str, Any]) -> str:
    return str(row["id"])


def _in_order(lines: list[Line]) -> list[Line]:
    """The lines, with those of one look at the leases, which has no order of its own, in that of their ids."""
    ordered: list[Line] = []
    for lapsed, run in groupby(lines, key=lambda line: line[0] == "abandoned"):
        theirs = list(run)
        ordered += sorted(theirs) if lapsed else theirs
    return ordered


def _line(line: dict[str, Any]) -> Line:
    """A line of the trail as the model has it."""
    action, data = line["action"], line["data"]
    match action:
        case "resume_decided":
            return action, data["decision"], data.get("reason") or data["provider_session_id"]
        case "security_violation":
            return action, data["what"], ""
        case _:
            return action, data["provider_session"], data.get("reason") or data["resumed_from"] or ""
