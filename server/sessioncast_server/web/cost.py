"""What a request has cost the store so far, kept with it until it is answered."""

from starlette.types import Scope


def add_statements(scope: Scope, count: int) -> None:
    """Statements were run for a request, in one transaction of perhaps several."""
    state = scope.setdefault("state", {})
    state["statements"] = state.get("statements", 0) + count


def statements_of(scope: Scope) -> int | None:
    """Statements that were run for a request; None when none of it was counted."""
    count: int | None = scope.get("state", {}).get("statements")
    return count
