"""What a command that uses a provider tells about it, in a file."""

import contextlib
import json
import os
import stat
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from sessioncast_shared.providers import FailureReason, Usage

_LONGEST = 2**20
"""Characters; a map of many files' hashes has room."""

_BESIDE = frozenset({"usage", "structure_fingerprint"})
"""Fields that may be wrong while the others are right."""


class Result(BaseModel):
    """What became of one run.

    Attributes:
        provider_session_id: that the provider gave out.
        resume_failed: why it did not resume the id it was given; the command is run again.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    provider_session_id: str | None = None
    usage: Usage | None = None
    resume_failed: FailureReason | None = None
    structure_fingerprint: str | dict[str, str] | None = None


class BadResultError(ValueError):
    """The file holds something else.

    Attributes:
        rest: what can be understood of it all the same; None: nothing, it may have named an id.
    """

    def __init__(self, reason: str, rest: Result | None = None) -> None:
        super().__init__(reason)
        self.rest = rest


def parse_result(text: str) -> Result:
    """One line with the id, or a JSON object; nothing at all tells nothing.

    Raises:
        BadResultError: it is neither.
    """
    text = text.strip()
    if text.startswith("{"):
        try:
            told: dict[str, Any] = json.loads(text)
        except RecursionError as error:
            raise BadResultError("too many brackets in one another") from error
        except ValueError as error:
            raise BadResultError(str(error)) from error
        return _understood(told)
    if "\n" in text:
        raise BadResultError("more than one line")
    return Result(provider_session_id=text or None)


def _understood(told: dict[str, Any]) -> Result:
    try:
        return Result.model_validate(told)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)
        fields = {first["loc"][0] for first in wrong}
        # What is wrong with the usage is not wrong with the id.
        rest = None
        if fields <= _BESIDE:
            rest = Result.model_validate({name: part for name, part in told.items() if name not in fields})
        raise BadResultError(f"{'.'.join(map(str, wrong[0]['loc']))}: {wrong[0]['msg']}", rest) from error


def take_result(path: Path) -> Result:
    """What a run left, which is gone afterwards. Only a regular file is read: others might never end.

    Raises:
        BadResultError: it left something else.
    """
    try:
        # Opening a pipe that nobody writes to must not wait, either.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), errors="strict") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadResultError("it is no regular file")
            text = file.read(_LONGEST + 1)
    except FileNotFoundError:
        return Result()
    except (OSError, UnicodeDecodeError) as error:
        raise BadResultError(str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
    if len(text) > _LONGEST:
        raise BadResultError(f"more than {_LONGEST} characters")
    return parse_result(text)
