"""Many replacements and deletions at once: what is asked for, how it is cut into requests, what came of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sessioncast.answer import Answer
from sessioncast.decode import decoded, stamp
from sessioncast.errors import ProtocolError, SessioncastError
from sessioncast.problems import problem_error
from sessioncast_shared import resources
from sessioncast_shared.phases import Phase

BATCH_ITEMS = 1000
"""The server takes no more in one request."""

BATCH_BYTES = 512 * 1024
"""Nor a body over 1 MiB; the other half is for what stands between the items."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """Start a session in place of a certain one.

    Attributes:
        task: id.
        model: its name, or `{"name", "version"?, "params"?}`.
        session: id of the live session that is to go; if another is live by then, the item is refused.
    """

    task: str
    phase: Phase | str
    model: str | Mapping[str, Any]
    session: str

    def wire(self) -> dict[str, Any]:
        """As the server reads it."""
        return {
            "task_id": self.task,
            "phase": str(self.phase),
            "model": model_wire(self.model),
            "confirm": {"session_id": self.session},
        }


@dataclass(frozen=True, slots=True)
class Deletion:
    """Delete a session softly.

    Attributes:
        session: id.
        version: refuse it if the session has changed since it had this version.
    """

    session: str
    version: int | None = None

    def wire(self) -> dict[str, Any]:
        """As the server reads it."""
        return {"session_id": self.session} | ({} if self.version is None else {"version": self.version})


W = TypeVar("W", Replacement, Deletion)


@dataclass(frozen=True, slots=True)
class BulkItem(Generic[W]):
    """What came of one item.

    Attributes:
        wish: what was asked for.
        outcome: of a replacement that was made.
        error: why it was not done; None: it was.
    """

    wish: W
    outcome: resources.StartOutcome | None = None
    error: SessioncastError | None = None


@dataclass(frozen=True, slots=True)
class BulkOutcome:
    """What came of all of them, each list in the order it was asked for.

    Attributes:
        position: of the last change; None when there was none.
    """

    replace: list[BulkItem[Replacement]] = field(default_factory=list)
    delete: list[BulkItem[Deletion]] = field(default_factory=list)
    position: str | None = None

    @property
    def failed(self) -> list[SessioncastError]:
        """Why items were not done, replacements first; empty when all were."""
        errors = [item.error for item in self.replace] + [item.error for item in self.delete]
        return [error for error in errors if error is not None]

    def followed_by(self, other: "BulkOutcome") -> "BulkOutcome":
        """Both, as one."""
        return BulkOutcome(self.replace + other.replace, self.delete + other.delete, other.position or self.position)


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes into one request."""

    replace: list[Replacement] = field(default_factory=list)
    delete: list[Deletion] = field(default_factory=list)

    def wire(self) -> dict[str, Any]:
        """The body of the request."""
        body = {"replace": [wish.wire() for wish in self.replace], "delete": [wish.wire() for wish in self.delete]}
        return {name: wishes for name, wishes in body.items() if wishes}

    def outcome(self, answer: Answer) -> BulkOutcome:
        """What the server's answer says of it.

        Raises:
            ProtocolError: it does not say it of each item.
        """
        told = decoded(resources.BulkOutcome, answer)
        if (len(told.replace), len(told.delete)) != (len(self.replace), len(self.delete)):
            raise ProtocolError(answer.url, "not an outcome for each item")
        return BulkOutcome(
            [_item(wish, item, answer) for wish, item in zip(self.replace, told.replace, strict=True)],
            [_item(wish, item, answer) for wish, item in zip(self.delete, told.delete, strict=True)],
            answer.position,
        )

    def lost(self, error: SessioncastError) -> BulkOutcome:
        """What is known when there is no answer."""
        return BulkOutcome(
            [BulkItem(wish, error=error) for wish in self.replace],
            [BulkItem(wish, error=error) for wish in self.delete],
        )


def batches(replace: Sequence[Replacement], delete: Sequence[Deletion]) -> Iterator[Batch]:
    """All of it, in order, in requests that the server takes."""
    batch, items, size = Batch(), 0, 0
    wishes: list[Replacement | Deletion] = [*replace, *delete]
    for wish in wishes:
        length = len(json.dumps(wish.wire()))
        if items and (items == BATCH_ITEMS or size + length > BATCH_BYTES):
            yield batch
            batch, items, size = Batch(), 0, 0
        if isinstance(wish, Replacement):
            batch.replace.append(wish)
        else:
            batch.delete.append(wish)
        items, size = items + 1, size + length
    if items:
        yield batch


def model_wire(model: str | Mapping[str, Any]) -> dict[str, Any]:
    """A model, of which only the name may have been given, as the server reads it."""
    return {"name": model} if isinstance(model, str) else dict(model)


def _item(wish: W, told: resources.BulkItem, answer: Answer) -> BulkItem[W]:
    if told.problem is not None:
        return BulkItem(wish, error=problem_error(told.status, told.problem))
    if not 200 <= told.status < 300 or (isinstance(wish, Replacement) and told.session is None):
        raise ProtocolError(answer.url, "an item's outcome that is none")
    if told.outcome is None or told.session is None:
        return BulkItem(wish)
    outcome = resources.StartOutcome(
        outcome=told.outcome, session=told.session, message=told.message, replaced=told.replaced
    )
    if answer.position is not None:
        stamp(outcome, answer.position)
    return BulkItem(wish, outcome)
