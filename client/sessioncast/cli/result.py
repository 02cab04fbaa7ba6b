"""What a command that uses a provider tells about it, in a file."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from sessioncast_shared.providers import FailureReason, Usage

_LONGEST = 2**20
"""Characters; a map of many files' hashes has room."""


class BadResultError(ValueError):
    """The file holds something else."""


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


def parse_result(text: str) -> Result:
    """One line with the id, or a JSON object; nothing at all tells nothing.

    Raises:
        BadResultError: it is neither.
    """
    text = text.strip()
    if text.startswith("{"):
        try:
            return Result.model_validate(json.loads(text))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise BadResultError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        except ValueError as error:
            raise BadResultError(str(error)) from error
    if "\n" in text:
        raise BadResultError("more than one line")
    return Result(provider_session_id=text or None)


def take_result(path: Path) -> Result:
    """What a run left, which is gone afterwards.

    Raises:
        BadResultError: it left something else.
    """
    try:
        with path.open(errors="strict") as file:
            text = file.read(_LONGEST + 1)
        path.unlink()
    except FileNotFoundError:
        return Result()
    except (OSError, UnicodeDecodeError) as error:
        raise BadResultError(str(error)) from error
    if len(text) > _LONGEST:
        raise BadResultError(f"more than {_LONGEST} characters")
    return parse_result(text)
