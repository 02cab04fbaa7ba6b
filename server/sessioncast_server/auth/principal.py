"""Who asks, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum

from sessioncast_server.problems import Problem
from sessioncast_shared.codes import Code


class Scope(StrEnum):
    """Rights that a token carries beside its projects."""

    SESSIONS_READ = "sessions:read"
    SESSIONS_WRITE = "sessions:write"
    SESSIONS_AUDIT = "sessions:audit"
    THREADS_READ_ALL = "threads:read_all"
    USERS_ACT = "users:act"
    ARCHIVE_READ = "archive:read"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """The verified bearer of a request or a stream.

    Attributes:
        sub: user.
        projects: ids of the projects that exist for this principal; None for all.
        scopes: rights, as texts: those we do not know are kept and mean nothing.
        expires_at: Unix seconds after which the token is worth nothing; None: never.
        bearer: whose token it is, where that is another one who acts for `sub`.
    """

    sub: str
    projects: frozenset[str] | None
    scopes: frozenset[str]
    expires_at: float | None = None
    bearer: str | None = None

    def may_see(self, project_id: str) -> bool:
        """Whether the project exists for this principal; if not, all that is in it is «not found»."""
        return self.projects is None or project_id in self.projects

    def has(self, scope: str) -> bool:
        """Whether the right was given."""
        return scope in self.scopes

    def require(self, scope: str) -> None:
        """Go on only with the right.

        Raises:
            Problem: 403 `forbidden`, naming the scope.
        """
        if scope not in self.scopes:
            raise Problem(403, Code.FORBIDDEN, f"The scope {scope} is needed.", scope=str(scope))


NOBODY = Principal("", frozenset(), frozenset())
"""Who asks for what is public."""
