"""What can go wrong between a service and its database, whatever the backend."""

from collections.abc import Hashable
from typing import Literal


class DatabaseError(Exception):
    """Base of the store's own errors; a driver's exceptions never leave the `db` folder."""


class UnavailableError(DatabaseError):
    """The database could not be asked, or refused; nothing of the transaction remains. Worth a retry.

    Attributes:
        reason: one short word for logs and metrics: `connection`, `full`, `io`, `deadline`, `queue`, `pool`,
            `busy`, `locked`, `closed`.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class CommitUnknownError(DatabaseError):
    """The connection was lost while COMMIT was under way: the change is there in full or not at all."""


class LockTimeoutError(DatabaseError):
    """A lock was not had in time; nothing of the transaction remains.

    Attributes:
        of: what is locked: a `row` that is to be changed, or something `else` that nobody outside knows of.
        key: equal for those who waited for the same lock, where one alone can have it; None: nobody says.
    """

    def __init__(self, detail: str = "", *, of: Literal["row", "else"] = "row", key: Hashable | None = None) -> None:
        super().__init__(detail)
        self.of = of
        self.key = key


class ConflictError(DatabaseError):
    """Another transaction was faster; nothing of this one remains. The store runs it again, a few times."""


class UniqueError(DatabaseError):
    """A unique index refused a row.

    Attributes:
        constraint: name of the index or the columns, as the backend tells it.
    """

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint
