"""Output that waits on disk for a server that is away."""

import json
import os
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

SUFFIX = ".spool"
FORMAT = 1

_SENT_AT = len('{"sent": "')
_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Record:
    """What one request carries.

    Attributes:
        texts: chunks of output.
        end: changes of the session that end it, instead of texts.
        key: the `Idempotency-Key` it is sent with, however often.
    """

    texts: tuple[str, ...] = ()
    end: dict[str, Any] | None = None
    key: str = field(default_factory=lambda: str(uuid.uuid4()))

    def line(self) -> bytes:
        """As it stands in the file."""
        return json.dumps(asdict(self), ensure_ascii=False).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """The record that a line is; raises ValueError, KeyError or TypeError where it is none."""
        told = json.loads(line)
        return cls(tuple(told["texts"]), told["end"], str(told["key"]))


class BadSpoolError(ValueError):
    """A file that is no spool, or not one of ours to send."""


class Spool:
    """A file of records, oldest first, and how far they have been sent.

    It is made when the first record comes, in a folder that only its owner may enter, and begins anew, from nothing,
    whenever all that it had is sent. Its first line tells how far that is, in place: a program that dies between an
    answer and that note sends one record twice, under the same key. Calls block for as long as the disk does.

    Attributes:
        path: of the file, None while there is none.
        limit_bytes: it does not grow beyond; the last words, which say how it ended, are let in all the same.
    """

    def __init__(self, folder: Path, *, session: str, fence: int | None, limit_bytes: int) -> None:
        self.path: Path | None = None
        self.limit_bytes = limit_bytes
        self.session = session
        self.fence = fence
        self._folder = folder
        self._file: BinaryIO | None = None
        self._begin = self._sent = self._size = 0

    @classmethod
    def open(cls, path: Path) -> Self:
        """One that an earlier program has left.

        Raises:
            BadSpoolError: it is none, it is another user's, or it is in use.
            OSError: it cannot be read.
        """
        file = open(path, "r+b", opener=_without_waiting)  # noqa: SIM115  it is kept open
        try:
            status = os.fstat(file.fileno())
            # A file of somebody else's would make us say what they like, in our name.
            if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
                raise BadSpoolError(f"{path} is another user's")
            if not _locked(file):
                raise BadSpoolError(f"{path} is in use: its command still runs")
            head = file.readline(4096)
            told = json.loads(head)
            if told["format"] != FORMAT:
                raise BadSpoolError(f"{path} is of another version")
            fence = told["fence"]
            spool = cls(path.parent, session=str(told["session"]), fence=fence, limit_bytes=status.st_size)
            spool._sent = int(told["sent"])
        except (ValueError, KeyError, TypeError) as error:
            file.close()
            raise error if isinstance(error, BadSpoolError) else BadSpoolError(f"{path} is no spool") from error
        spool.path, spool._file = path, file
        spool._begin, spool._size = len(head), status.st_size
        return spool

    @property
    def empty(self) -> bool:
        """Whether nothing in it is left to be sent."""
        return self._sent >= self._size

    @property
    def room(self) -> int:
        """Bytes that it may still grow by."""
        return self.limit_bytes - self._size

    def add(self, records: Sequence[Record], *, last: bool = False) -> int:
        """Take as many of the records as there is room for; how many that were.

        Args:
            last: they are what is left at the end; there is room for them.

        Raises:
            OSError: the disk does not take them; none is in it then.
        """
        file = self._file or self._make()
        taken, data = 0, bytearray()
        for record in records:
            line = record.line()
            if not last and self._size + len(data) + len(line) > self.limit_bytes:
                break
            data += line
            taken += 1
        try:
            file.seek(self._size)
            file.write(data)
            file.flush()
            if last:
                os.fsync(file.fileno())
        except OSError:
            # Half a record must not be followed by another.
            file.truncate(self._size)
            raise
        self._size += len(data)
        return taken

    def first(self) -> Record | None:
        """The oldest that is left to be sent; one that was cut off by the end of its program is none.

        Raises:
            BadSpoolError: the file is damaged.
        """
        if self._file is None or self.empty:
            return None
        self._file.seek(self._sent)
        line = self._file.readline()
        if not line.endswith(b"\n"):
            return None
        try:
            return Record.parse(line)
        except (ValueError, KeyError, TypeError) as error:
            raise BadSpoolError(f"{self.path} is damaged at byte {self._sent}") from error

    def sent(self) -> None:
        """The oldest needs no sending any more."""
        file = self._file
        if file is None:
            return
        file.seek(self._sent)
        self._sent += len(file.readline())
        if self.empty:
            self._sent = self._size = self._begin
            file.truncate(self._begin)
        file.seek(_SENT_AT)
        file.write(b"%0*d" % (_DIGITS, self._sent))
        file.flush()

    def close(self, *, keep: bool = True) -> None:
        """Close the file. What is left to be sent stays in it, if it is to be kept; one with nothing is removed."""
        if self._file is not None and self.path is not None:
            if not keep or self.first() is None:
                self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def _make(self) -> BinaryIO:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # 0600, and a name that nobody else has.
        number, name = tempfile.mkstemp(prefix=f"{self.session}-", suffix=SUFFIX, dir=self._folder)
        file = self._file = os.fdopen(number, "r+b")
        self.path = Path(name)
        _locked(file)
        rest = json.dumps({"format": FORMAT, "session": self.session, "fence": self.fence})[1:]
        for _ in range(2):  # once its length is known, with it
            head = b'{"sent": "%0*d", %s\n' % (_DIGITS, self._begin, rest.encode())
            self._begin = len(head)
        file.write(head)
        self._sent = self._size = self._begin
        return file


def _without_waiting(path: str, flags: int) -> int:
    # Opening a pipe that nobody writes to must not wait.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))


def _locked(file: BinaryIO) -> bool:
    """Whether nobody else has it; the system gives it back when its program ends, however that is."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
