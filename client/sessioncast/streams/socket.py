"""One WebSocket, and the subscriptions that share it."""

import asyncio
import json
import time
from typing import Any

from sessioncast.answer import parsed
from sessioncast.credentials import Credentials
from sessioncast.errors import ConnectionLost, ProblemError, ProtocolError, SessioncastError, Unauthenticated
from sessioncast.limits import Limits
from sessioncast.lost import Silent
from sessioncast.stats import Counters
from sessioncast.streams.frames import Frame, Goodbye, control_frame
from sessioncast.streams.mailbox import Mailbox
from sessioncast.streams.wire import Wire, refusal
from sessioncast_shared.codes import Code
from sessioncast_shared.filters import Filter

_RENEWALS_S = 1.0
"""Between two renewals, however short the lives of the tokens."""
_TO_ONE = frozenset({"events", "snapshot", "heartbeat", "resync"})


class Socket:
    """Reads all that comes, always, and puts it into the mailboxes of the subscriptions that it is for.

    Attributes:
        open: whether subscriptions can be added.
        keys: projects and filters that it has, or is about to have: the server takes each once.
    """

    def __init__(
        self, wire: Wire, credentials: Credentials, token: str | None, limits: Limits, counters: Counters
    ) -> None:
        """`token` is what the connection was opened with."""
        self.open = True
        self.keys: set[tuple[str, Filter]] = set()
        self._wire = wire
        self._credentials = credentials
        self._token = token
        self._limits = limits
        self._counters = counters
        self._asked: dict[str, Mailbox] = {}
        self._mailboxes: dict[str, Mailbox] = {}
        self._refs = 0
        self._broken = False
        self._crowded = False
        self._full = False
        self._gone = False
        counters.sockets += 1
        self._reader = asyncio.create_task(self._read())
        self._renewer = asyncio.create_task(self._renew()) if credentials.renewable else None

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more."""
        return self._reader.done()

    def takes(self, key: tuple[str, Filter]) -> bool:
        """Whether a subscription of this project and filter can be added."""
        return self.open and not self._full and key not in self.keys

    async def subscribe(
        self, project: str, wanted: Filter, mailbox: Mailbox, *, position: str | None, snapshot: str
    ) -> None:
        """Ask for a subscription: its frames, `subscribed` or a refusal first, go into the mailbox.

        Raises:
            ConnectionLost: it cannot be asked for any more.
        """
        self._refs += 1
        ref = str(self._refs)
        names = {"task": wanted.tasks, "session": wanted.sessions, "thread": wanted.threads, "kinds": wanted.kinds}
        frame: dict[str, Any] = {"op": "subscribe", "ref": ref, "project": project, "snapshot": snapshot}
        frame["filter"] = {name: list(values) for name, values in names.items() if values}
        if position is not None:
            frame["position"] = position
        self._asked[ref] = mailbox
        try:
            await self._wire.send(json.dumps(frame))
        except BaseException as error:
            self._asked.pop(ref, None)
            if isinstance(error, Unauthenticated):
                raise self._passing(error) from error
            raise

    async def leave(self, mailbox: Mailbox, key: tuple[str, Filter]) -> None:
        """Nobody reads this mailbox any more; with the last one goes the connection."""
        self._asked = {ref: asked for ref, asked in self._asked.items() if asked is not mailbox}
        names = [name for name, known in self._mailboxes.items() if known is mailbox]
        for name in names:
            del self._mailboxes[name]
        self.keys.discard(key)
        if not self.keys:
            await self.aclose()
            return
        for name in names:
            try:
                await self._wire.send(json.dumps({"op": "unsubscribe", "key": name}))
            except (ConnectionLost, ProblemError):
                return  # with the connection goes the subscription

    def broke(self) -> bool:
        """Whether the connection broke, for the first who asks."""
        broken, self._broken = self._broken, False
        return broken

    async def aclose(self) -> None:
        """Give the connection up."""
        self.open = False
        both = [self._reader] if self._renewer is None else [self._reader, self._renewer]
        ending = [task for task in both if task is not asyncio.current_task()]
        for task in ending:
            task.cancel()
        self._end(ConnectionLost(self._wire.url, "given up"))
        await self._close()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while True:
                try:
                    async with asyncio.timeout(self._limits.idle_s):
                        message = await self._wire.receive()
                except TimeoutError as error:
                    raise Silent(self._wire.url, "nothing was heard") from error
                self._counters.received(len(message), self._wire.url)
                self._take(message)
                if self._crowded:
                    # What has come already is read without waiting; who is to take it wants a turn, too.
                    self._crowded = False
                    await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001  whatever it is, all who wait for frames must hear of it
            if not isinstance(error, SessioncastError):
                error = ProtocolError(self._wire.url, f"what it said made no sense: {error!r}")
            else:
                error = self._passing(error)
            self._broken = self.open  # after a goodbye it is no surprise
            self.open = False
            self._end(error)
            await self._close()

    async def _close(self) -> None:
        if not self._gone:
            self._gone = True
            self._counters.sockets -= 1
        await self._wire.aclose()

    def _take(self, message: str | bytes) -> None:
        body = parsed(message, self._wire.url, "a message")
        op = body.get("op") if isinstance(body, dict) else None
        if op in _TO_ONE:
            key = body.get("key")
            if not isinstance(key, str):
                raise ProtocolError(self._wire.url, f"a {op} frame that is for nobody")
            mailbox = self._mailboxes.get(key)
            if mailbox is not None:  # else: one that has left meanwhile
                self._deliver(mailbox, op, body, len(message))
        elif op == "subscribed":
            mailbox = self._asked.pop(str(body.get("ref")), None)
            if mailbox is not None:
                self._credentials.accepted()
                self._mailboxes[str(body.get("key"))] = mailbox
                self._deliver(mailbox, op, body, len(message))
        elif op == "unsubscribed":
            mailbox = self._mailboxes.pop(str(body.get("key")), None)
            if mailbox is not None:
                mailbox.end(self._ended(body))
        elif op == "error":
            self._refused(body)
        elif op == "goodbye":
            frame = control_frame(op, body, self._wire.url)
            self.open = False
            for mailbox in [*self._asked.values(), *self._mailboxes.values()]:
                mailbox.put(frame or Goodbye(None, ""), 0)

    def _deliver(self, mailbox: Mailbox, op: str, body: dict[str, Any], size: int) -> None:
        try:
            frame: Frame | None = control_frame(op, body, self._wire.url)
        except ProtocolError as error:
            mailbox.end(error)
            return
        if frame is not None:
            mailbox.put(frame, size)
            self._crowded = mailbox.crowded

    def _refused(self, body: dict[str, Any]) -> None:
        problem = refusal(body)
        # A server may be set to fewer than we think: what it does not take here is asked for on another connection.
        self._full |= problem.status == 429 and len(self.keys) > 1
        ref = body.get("ref")
        if ref is None:
            return  # of an auth frame, or of nothing of ours: what comes of it is told by the close
        mailbox = self._asked.pop(str(ref), None)
        if mailbox is not None:
            mailbox.end(self._passing(problem))

    def _passing(self, error: SessioncastError) -> SessioncastError:
        """A token that expired before the next one came is no refusal, unless there is no other."""
        if isinstance(error, Unauthenticated) and self._credentials.refuse(self._token):
            self.open = False
            return ConnectionLost(self._wire.url, "the token is not accepted any more")
        return error

    def _ended(self, body: dict[str, Any]) -> SessioncastError:
        reason = str(body.get("reason", ""))
        if reason not in (Code.FORBIDDEN, Code.PUSH_DISABLED):
            return ConnectionLost(self._wire.url, reason or "the server ended the subscription")
        return refusal({"code": reason, "detail": "", **body, "retryable": reason == Code.PUSH_DISABLED})

    def _end(self, error: SessioncastError) -> None:
        for mailbox in [*self._asked.values(), *self._mailboxes.values()]:
            mailbox.end(error)
        self._asked.clear()
        self._mailboxes.clear()

    async def _renew(self) -> None:
        """Have a fresh token before the present one expires, so that the stream goes on."""
        while (expires_at := self._credentials.expires_at) is not None:
            await asyncio.sleep(max(_RENEWALS_S, expires_at - time.time() - self._limits.renew_s))
            token = self._credentials.token
            try:
                fresh = await self._credentials.renew(token)
                if fresh is None:
                    return
                self._token = fresh
                await self._wire.send(json.dumps({"op": "auth", "token": fresh}))
            except Exception:  # noqa: BLE001  the caller's own function: the stream expires, and its reconnect asks again
                return
