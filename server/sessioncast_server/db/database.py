"""The seam between the server and its database."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, Generic, ParamSpec, Protocol, TypeVar

from sessioncast_server.broker.base import Announcement
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_shared.position import Position

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Effort:
    """What a write took.

    Attributes:
        statements: of the run that committed, COMMIT apart.
        waited_s: seconds it waited for rows that others held, or for its turn.
        contended: whether anybody was in the way.
        conflicts: runs that were lost to faster ones.
    """

    statements: int = 0
    waited_s: float = 0.0
    contended: bool = False
    conflicts: int = 0


@dataclass(frozen=True, slots=True)
class Written(Generic[T]):
    """Outcome of a committed write.

    Attributes:
        value: what the function returned.
        position: of the last event it emitted, None when it emitted none.
        effort: what it took.
    """

    value: T
    position: Position | None
    effort: Effort = Effort()


class Appender(Protocol):
    """Gives staged events their offsets and writes them; the log's part of every write transaction."""

    def append(self, tx: WriteTx) -> Callable[[], list[Announcement]]:
        """Run the statements; the returned function tells, after COMMIT, what was appended."""


@dataclass(frozen=True, slots=True)
class CommitListener:
    """Who hears of commits, always on the event loop and never before COMMIT returned.

    Attributes:
        committed: what one group of transactions appended, in commit order.
        doubtful: the store lost sight of its own commits; heads are to be read again.
        timed: seconds a commit took, and how many functions shared it.
    """

    committed: Callable[[list[Announcement]], None]
    doubtful: Callable[[], None]
    timed: Callable[[float, int], None]


class Database(Protocol):
    """Runs functions in transactions. Raises only `db.errors` and what the functions raise."""

    log_went_back: bool
    """Whether opening found the database behind its own past: every epoch is to be rotated."""

    async def open(self, listener: CommitListener) -> None:
        """Connect; raises UnavailableError with the reason when that cannot be."""

    async def write(self, fn: Callable[Concatenate[WriteTx, P], T], /, *args: P.args, **kwargs: P.kwargs) -> Written[T]:
        """Run `fn(tx, …)` in one transaction with the events it emits; durable when this returns."""

    async def read(self, fn: Callable[Concatenate[ReadTx, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn(tx, …)` on one consistent snapshot."""

    async def observe(self, fn: Callable[Concatenate[ReadTx, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As `read`, on the hub's own threads."""

    def busy(self) -> int:
        """Writes that wait or run."""

    async def close(self) -> None:
        """Finish what is queued, then disconnect."""
