"""What a user does at a desk, one request after another, and what the server must say to it."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from population import MODELS, PHASES
from swarm.measures import Measures
from swarm.verdict import judge
from swarm.world import Desk

Place = tuple[str, str]
"""Task and phase."""

_BUSY = ("running", "working", "waiting", "idle")
_SHARED_PART = 0.1
"""Of what a user does, on tasks that others work on too."""
_CURIOUS_PART = 0.5
"""Of the lookups, at what is others' work."""
_LINE = "the quick brown fox jumps over the lazy dog, and then looks back at it 0123456789\n"


class Client(Protocol):
    """Sends one request, and is told afterwards whether the answer was good."""

    def __call__(
        self, operation: str, method: str, path: str, body: Any, good: Callable[[int, Any], str | None]
    ) -> tuple[int, Any, str | None]:
        """Status, JSON and `X-Position`; `good` says what is wrong, or None. Status 0 with the reason: no answer."""


class WrongAnswerError(Exception):
    """The server contradicts what it said before."""


@dataclass(slots=True)
class Live:
    """A live session, as the server last told of it."""

    id: str
    model: str
    active: bool
    output_seq: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A question the server put: may this session go?"""

    place: Place
    shared: bool
    model: str
    confirm: dict[str, str]


class Worker:
    """One user. Of his own tasks he knows what must be there; of shared ones what was there when he looked last.

    Args:
        committed: told the position of every own change.
    """

    def __init__(self, desk: Desk, client: Client, measures: Measures, committed: Callable[[str], None]) -> None:
        self._desk = desk
        self._client = client
        self._measures = measures
        self._committed = committed
        self._known: dict[Place, Live | None] = {}
        self._asked: Asked | None = None
        self._position: str | None = None
        self._step = 0

    def lookup(self) -> None:
        """Look a phase up: one's own, or of any task on the board."""
        if random.random() < _CURIOUS_PART:
            self._look((random.choice(self._desk.seen), random.choice(PHASES)), shared=True)
        else:
            self._look(self._own(), shared=False)

    def append(self) -> None:
        """Let a session print some lines."""
        place, shared = self._choose()
        live = self._live(place, shared=shared)
        if live is None:
            return
        chunks = [{"stream": "log", "text": _LINE * random.randint(1, 10)} for _ in range(random.randint(1, 3))]
        done = self._send("append", "POST", f"/v1/sessions/{live.id}/output", {"chunks": chunks}, place, shared=shared)
        if done is None or shared:
            return
        if done["first"] != live.output_seq + 1 or done["last"] != live.output_seq + len(chunks):
            self._contradict("append", f"{done} after {live.output_seq}", place)
        live.output_seq = done["last"]

    def patch(self) -> None:
        """Change metadata, and the status of a session that has not ended."""
        place, shared = self._choose()
        live = self._live(place, shared=shared)
        if live is None:
            return
        self._step += 1
        body: dict[str, Any] = {"metadata": {"step": self._step}}
        if live.active:
            body["status"] = random.choice(_BUSY)
        done = self._send("patch", "PATCH", f"/v1/sessions/{live.id}", body, place, shared=shared)
        if done is not None and (done["id"], done["metadata"].get("step")) != (live.id, self._step):
            self._contradict("patch", f"{done['id']} {done['metadata']} after {body}", place)

    def ask(self) -> None:
        """Ask for another model; the answer is a question, which `confirm` answers after some thinking."""
        place, shared = self._choose()
        live = self._live(place, shared=shared)
        if live is None:
            return
        model = random.choice([name for name in MODELS if name != live.model])
        body = {"phase": place[1], "model": {"name": model}}
        asked = self._send("ask", "POST", f"/v1/tasks/{place[0]}/sessions", body, place, shared=shared)
        if asked is None:
            return
        if not shared and asked["confirm"]["session_id"] != live.id:
            self._contradict("ask", f"{asked['confirm']} while {live.id} is live", place)
        self._asked = Asked(place, shared, model, asked["confirm"])

    @property
    def was_asked(self) -> bool:
        """Whether there is a question to answer."""
        return self._asked is not None

    def confirm(self) -> None:
        """Replace the session that the server asked about."""
        asked, self._asked = self._asked, None
        if asked is None:
            return
        task, phase = asked.place
        body = {"phase": phase, "model": {"name": asked.model}, "on_conflict": "replace", "confirm": asked.confirm}
        path = f"/v1/tasks/{task}/sessions"
        done = self._send("replace", "POST", path, body, asked.place, shared=asked.shared)
        if done is None:
            return
        gone = done["replaced"]
        if gone["id"] != asked.confirm["session_id"] or gone["replaced_by"] != done["session"]["id"]:
            self._contradict("replace", f"{gone['id']}, {gone['replaced_by']} after {asked.confirm}", asked.place)
        self._learn(asked.place, done["session"])

    def start(self) -> None:
        """Start a session where there is none; where there is one, delete it before."""
        place = self._own()
        found, live = self._find(place, shared=False)
        if live is not None:
            gone = self._send("delete", "DELETE", f"/v1/sessions/{live.id}", None, place, shared=False)
            found = gone is not None
        if found:
            self._known[place] = None
            self._begin(place, shared=False)

    def _begin(self, place: Place, *, shared: bool) -> None:
        body = {"phase": place[1], "model": {"name": random.choice(MODELS)}}
        done = self._send("start", "POST", f"/v1/tasks/{place[0]}/sessions", body, place, shared=shared)
        if done is not None:
            self._learn(place, done["session"])

    def _choose(self) -> tuple[Place, bool]:
        if random.random() < _SHARED_PART:
            return (random.choice(self._desk.shared), random.choice(PHASES)), True
        return self._own(), False

    def _own(self) -> Place:
        return random.choice(self._desk.own), random.choice(PHASES)

    def _live(self, place: Place, *, shared: bool) -> Live | None:
        """The live session; where there is none one is started, and there is nothing else to do this time."""
        found, live = self._find(place, shared=shared)
        if found and live is None:
            self._begin(place, shared=shared)
        return live

    def _find(self, place: Place, *, shared: bool) -> tuple[bool, Live | None]:
        """Whether it is known what lives there, and what does."""
        if place in self._known:
            return True, self._known[place]
        return self._look(place, shared=shared)

    def _look(self, place: Place, *, shared: bool) -> tuple[bool, Live | None]:
        path = f"/v1/tasks/{place[0]}/sessions?phase={place[1]}&debug=false"
        if self._position is not None:
            path += f"&min_position={self._position}"  # what one did oneself is seen, whichever node answers
        found = self._send("lookup", "GET", path, None, place, shared=shared)
        if found is None:
            return False, None
        sessions = found["data"]
        if len(sessions) > 1 or any(session["deleted_at"] is not None for session in sessions):
            self._contradict("lookup", f"live are {[session['id'] for session in sessions]}", place)
        live = self._live_of(sessions[0]) if sessions else None
        if not shared:
            known = self._known.get(place, live)
            if (live and (live.id, live.output_seq)) != (known and (known.id, known.output_seq)):
                self._contradict("lookup", f"{live} instead of {known}", place)
        if not shared or place[0] in self._desk.shared:
            self._known[place] = live
        return True, live

    def _learn(self, place: Place, session: dict[str, Any]) -> None:
        self._known[place] = self._live_of(session)

    @staticmethod
    def _live_of(session: dict[str, Any]) -> Live:
        return Live(session["id"], session["model"]["name"], session["active"], session["output_seq"])

    def _send(self, operation: str, method: str, path: str, body: Any, place: Place, *, shared: bool) -> Any:
        """The JSON of a good answer ({} if it has none); None of any other, which is counted."""
        began = time.perf_counter()
        verdict = None

        def good(status: int, document: Any) -> str | None:
            nonlocal verdict
            self._measures[operation].record(time.perf_counter() - began)
            verdict = judge(operation, status, document, shared=shared)
            return verdict.code if verdict.kind == "error" else None

        status, document, position = self._client(operation, method, path, body, good)
        if verdict is None or verdict.kind == "error":
            code = verdict.code if verdict is not None and status else "no answer"
            self._measures.fail(operation, code, f"{method} {path} {document}")
            self._known.pop(place, None)  # whatever happened there, the next lookup tells
            return None
        if verdict.kind == "outcome":
            self._measures[operation].outcomes[verdict.code] += 1
            self._known.pop(place, None)
            return None
        if position is not None and method != "GET":
            self._position = position
            self._committed(position)
        return {} if document is None else document

    def _contradict(self, operation: str, text: str, place: Place) -> None:
        self._measures.fail(operation, "wrong answer", text)
        self._known.pop(place, None)
        raise WrongAnswerError(text)
