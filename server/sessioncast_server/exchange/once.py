"""A change asked for twice with one key is made once, and answered twice alike.

The key's row is written in the transaction of the change itself, so both are there or neither is; a second request
meanwhile waits for the row (PostgreSQL) or its turn (SQLite). Refusals roll back and are not kept.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

import orjson
from sqlalchemy import bindparam, delete, select

from sessioncast_server.db.errors import LockTimeoutError
from sessioncast_server.db.statement import Statement, Text
from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.db.types import UtcTime
from sessioncast_server.exchange.tables import IdempotencyKeyRow
from sessioncast_server.problems import Problem, invalid
from sessioncast_server.web.answer import Answer
from sessioncast_shared.codes import Code

_KEY = IdempotencyKeyRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables

_CLAIM_SQL = (
    "INSERT INTO idempotency_key (id, body_digest, created_at) VALUES ({0}) ON CONFLICT (id) DO NOTHING RETURNING id"
)
_CLAIM = Text(
    sqlite=_CLAIM_SQL.format(":id, :body_digest, :created_at"),
    postgresql=_CLAIM_SQL.format("%(id)s, %(body_digest)s, %(created_at)s"),
    columns={"id": None},
    types={"created_at": UtcTime()},
)
_FORGET = Statement(
    delete(_KEY).where(_KEY.c.id == bindparam("key"), _KEY.c.created_at < bindparam("before", type_=UtcTime))
)
_GIVE_BACK = Statement(delete(_KEY).where(_KEY.c.id == bindparam("key")))
_KEPT = Statement(select(_KEY).where(_KEY.c.id == bindparam("key")))
_KEEP_SQL = """
UPDATE idempotency_key SET
    status = {p}status{s}, headers = {p}headers{s}, answer = {p}answer{s}, channel = {p}channel{s},
    epoch = (SELECT epoch FROM channel WHERE project_id = {p}channel{s}),
    "offset" = (SELECT head FROM channel WHERE project_id = {p}channel{s})
WHERE id = {p}id{s}
"""
_KEEP = Text(
    sqlite=_KEEP_SQL.format(p=":", s=""),
    # The channel is a value of one type and compared with another: PostgreSQL wants to be told which it is.
    postgresql=_KEEP_SQL.format(p="%(", s=")s").replace("%(channel)s", "%(channel)s::text"),
)
_EXPIRE_SQL = (
    "DELETE FROM idempotency_key WHERE id IN "
    "(SELECT id FROM idempotency_key WHERE created_at < {0} ORDER BY created_at LIMIT {1})"
)
_EXPIRE = Text(
    sqlite=_EXPIRE_SQL.format(":before", ":limit"),
    postgresql=_EXPIRE_SQL.format("%(before)s", "%(limit)s"),
    types={"before": UtcTime()},
)


@dataclass(frozen=True, slots=True)
class Ticket:
    """An `Idempotency-Key` with all it holds for.

    Attributes:
        id: digest of principal, method, path and key.
        body_digest: digest of the request's body.
        ttl_s: how long the answer is kept.
    """

    id: str
    body_digest: str
    ttl_s: float

    @classmethod
    def of(
        cls, key: str, *, user: str, method: str, path: str, body: bytes, ttl_s: float, bearer: str | None = None
    ) -> "Ticket":
        """The ticket of a request.

        Args:
            bearer: who acts for the user; a service's keys are not its users' own.

        Raises:
            Problem: 422, when the key is empty, over 200 characters or not visible ASCII.
        """
        if not (0 < len(key) <= 200 and all("!" <= character <= "~" for character in key)):
            raise invalid("Idempotency-Key", "must be 1 to 200 visible ASCII characters")
        whole = orjson.dumps([user, method, path, key] if bearer is None else [user, method, path, key, bearer])
        return cls(hashlib.sha256(whole).hexdigest(), hashlib.sha256(body).hexdigest(), ttl_s)


def claim(tx: WriteTx, ticket: Ticket) -> Answer | None:
    """Take a ticket for this transaction, or the answer that was given for it before.

    Raises:
        Problem: 422 `idempotency_key_reused`, when another body was sent with the key.
    """
    tx.run(_FORGET, key=ticket.id, before=tx.now - timedelta(seconds=ticket.ttl_s))
    try:
        if tx.change(_CLAIM, id=ticket.id, body_digest=ticket.body_digest, created_at=tx.now) is not None:
            return None
    except LockTimeoutError as error:
        raise LockTimeoutError(str(error), of="else") from error
    kept = tx.one(_KEPT, key=ticket.id)
    if kept is None:  # it expired between the two statements
        return claim(tx, ticket)
    if kept.body_digest != ticket.body_digest:
        raise Problem(422, Code.KEY_REUSED, "This Idempotency-Key was used with another body.")
    headers = orjson.loads(kept.headers)
    if kept.epoch is not None:
        headers["X-Position"] = f"{kept.epoch}:{kept.offset}"
    return Answer(kept.status, kept.answer.encode(), headers)


def keep(tx: WriteTx, ticket: Ticket, answer: Answer) -> None:
    """Keep the answer, with the position its events will have."""
    tx.at_close(
        _KEEP,
        id=ticket.id,
        status=answer.status,
        headers=orjson.dumps(answer.headers).decode(),
        answer=answer.body.decode(),
        channel=tx.staged[0].channel if tx.staged else None,
    )


def give_back(tx: WriteTx, ticket: Ticket) -> None:
    """Keep nothing: the answer is a refusal, though it changed something. The key may be used again."""
    tx.run(_GIVE_BACK, key=ticket.id)


def expire(tx: WriteTx, ttl_s: float, limit: int) -> int:
    """Forget at most `limit` answers that are older than `ttl_s`; how many."""
    return tx.count(_EXPIRE, before=tx.now - timedelta(seconds=ttl_s), limit=limit)
