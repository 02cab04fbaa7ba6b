"""Whether an answer is what was asked for, a refusal that the rule demands, or an error."""

from dataclasses import dataclass
from typing import Any, Literal

_ASKED: dict[str, dict[int, str | None]] = {
    # operation: status of a good answer, and the code or outcome it must name
    "lookup": {200: None},
    "start": {201: "created"},
    "append": {200: None},
    "patch": {200: None},
    "ask": {409: "model_change_requires_confirmation"},
    "replace": {201: "replaced"},
    "delete": {204: None},
}
_DEMANDED = {
    # What the rule demands when another user of a shared task was faster. `session_being_modified` is none of it: it
    # says that the server was too slow to have the lock.
    "start": {"existing", "model_change_requires_confirmation"},
    "ask": {"existing"},
    "append": {"session_replaced"},
    "patch": {"session_replaced"},
    "replace": {"session_changed", "existing"},
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an answer counts.

    Attributes:
        code: of the refusal or the error.
    """

    kind: Literal["good", "outcome", "error"]
    code: str = ""


def judge(operation: str, status: int, document: Any, *, shared: bool) -> Verdict:
    """How an answer counts; on a task of one's own there is nobody who could be faster."""
    named = document.get("code") or document.get("outcome") if isinstance(document, dict) else None
    wanted = _ASKED[operation]
    if status in wanted and wanted[status] in (None, named):
        return Verdict("good")
    if shared and named in _DEMANDED.get(operation, ()) and status in (200, 409):
        return Verdict("outcome", f"{status} {named}")
    return Verdict("error", f"{status} {named or ''}".strip())
