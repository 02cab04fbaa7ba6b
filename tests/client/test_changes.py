"""Changes that wait for a reader."""

from typing import Any

from sessioncast.live.change import Change, ChangeKind, Changes
from sessioncast_shared.resources import Task
from support.samples import TASK


def task(version: int) -> Task:
    """A task in a version."""
    return Task.model_validate({**TASK, "version": version})


def change(before: Task | None, after: Task | None, id_: str = "t", position: str = "e:1") -> Change:
    """A change of a task."""
    return Change("task", id_, before, after, position, id_, None if after else before)


def taken(changes: Changes) -> list[Any]:
    """What is taken until nothing is left: id, version before, version after."""
    found = []
    while (one := changes.take()) is not None:
        versions = (None if state is None else state.version for state in (one.before, one.after))  # type: ignore[union-attr]  # they are tasks
        found.append((one.id, *versions))
    return found


def test_many_changes_of_one_resource_are_one() -> None:
    """A slow reader is told from what it had to what is, and where that was said."""
    changes = Changes()
    changes.add(change(task(1), task(2), position="e:1"))
    changes.add(change(task(2), task(3), position="e:2"))
    changes.add(change(task(3), task(7), position="e:3"))
    assert len(changes) == 1
    one = changes.take()
    assert one is not None
    assert (one.position, one.what) == ("e:3", "changed")
    assert (one.before, one.after) == (task(1), task(7))
    assert taken(changes) == []


def test_what_was_taken_begins_anew() -> None:
    """The next change begins with what the reader was given last."""
    changes = Changes()
    changes.add(change(None, task(1)))
    assert taken(changes) == [("t", None, 1)]
    changes.add(change(task(1), task(2)))
    changes.add(change(task(2), task(3)))
    assert taken(changes) == [("t", 1, 3)]


def test_what_came_and_went_is_told_of_once() -> None:
    """Who waits for something to end learns that it did, though it was never seen."""
    changes = Changes()
    changes.add(change(None, task(1)))
    changes.add(change(task(1), task(2)))
    changes.add(change(task(2), None))
    one = changes.take()
    assert one is not None
    assert (one.what, one.before, one.after, one.last) == ("removed", None, None, task(2))
    assert taken(changes) == []


def test_what_went_and_came_again_is_a_change() -> None:
    """It is there; `last` is of those that are not."""
    changes = Changes()
    changes.add(change(task(1), None))
    changes.add(change(None, task(9)))
    one = changes.take()
    assert one is not None
    assert (one.what, one.before, one.after, one.last) == ("changed", task(1), task(9), None)


def test_the_one_that_waits_longest_is_first() -> None:
    """A resource that changes all the time does not keep the others back, nor lose its place."""
    changes = Changes()
    for id_ in ("a", "b"):
        changes.add(change(task(1), task(2), id_))
    changes.add(change(task(2), task(3), "a"))
    assert taken(changes) == [("a", 1, 3), ("b", 1, 2)]


def test_resources_of_two_kinds_may_have_one_id() -> None:
    """They are two changes."""
    changes = Changes()
    kinds: tuple[ChangeKind, ...] = ("task", "session")
    for kind in kinds:
        changes.add(Change(kind, "x", None, task(1), "e:1", "x"))
    assert len(changes) == 2
    changes.clear()
    assert (len(changes), changes.take()) == (0, None)


def test_of_what_is_gone_only_the_newest_wait() -> None:
    """Nobody reads: what is gone does not pile up, what is there does not get lost."""
    changes = Changes(gone_max=3)
    changes.add(change(task(1), task(2), "here"))
    for number in range(10):
        changes.add(change(None, task(1), f"t{number}"))
        changes.add(change(task(1), None, f"t{number}"))
    assert (len(changes), changes.dropped) == (4, 7)
    assert taken(changes) == [("here", 1, 2), ("t7", None, None), ("t8", None, None), ("t9", None, None)]


def test_what_has_come_again_is_not_among_what_is_gone() -> None:
    """The bound is for those that are gone still."""
    changes = Changes(gone_max=1)
    changes.add(change(task(1), None, "a"))
    changes.add(change(None, task(2), "a"))
    changes.add(change(task(1), None, "b"))
    changes.add(change(task(1), None, "c"))
    assert (taken(changes), changes.dropped) == ([("a", 1, 2), ("c", 1, None)], 1)


def test_what_was_taken_is_not_dropped_later() -> None:
    """The bound is for those that wait."""
    changes = Changes(gone_max=1)
    changes.add(change(task(1), None, "a"))
    assert taken(changes) == [("a", 1, None)]
    changes.add(change(task(1), None, "b"))
    assert (taken(changes), changes.dropped) == ([("b", 1, None)], 0)
