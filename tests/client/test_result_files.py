"""What a command that uses a provider tells in a file."""

import os
from pathlib import Path

import pytest

from sessioncast import Usage
from sessioncast.cli.result import BadResultError, Result, parse_result, take_result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", Result()),
        ("  \n", Result()),
        (" an-id \n", Result(provider_session_id="an-id")),
        ('{"provider_session_id": "x", "more": 1}', Result(provider_session_id="x")),
        ('{"usage": {"tokens": 1}}', Result(usage=Usage(tokens=1))),
        ('{"resume_failed": "corrupted"}', Result.model_validate({"resume_failed": "corrupted"})),
    ],
)
def test_results_are_a_line_or_an_object(text: str, result: Result) -> None:
    """One line is an id, an object is what it says, nothing is nothing."""
    assert parse_result(text) == result


@pytest.mark.parametrize("text", ["a\nb", "{", '{"resume_failed": "tired"}', '{"provider_session_id": 7}'])
def test_other_results_are_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(BadResultError):
        parse_result(text)


def test_a_result_is_taken_once_and_within_bounds(tmp_path: Path) -> None:
    """What one run left does not count for the next; too much, or what is no text, is refused."""
    path = tmp_path / "result"
    path.write_text("id")
    assert (take_result(path), take_result(path)) == (Result(provider_session_id="id"), Result())
    for raw in (b"x" * (2**20 + 1), b"\xff"):
        path.write_bytes(raw)
        with pytest.raises(BadResultError):
            take_result(path)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe that nobody writes to is not waited for, and is gone for the next run; nor is a folder read."""
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    for path in (pipe, folder):
        with pytest.raises(BadResultError):
            take_result(path)
    assert not pipe.exists()


def test_what_is_right_beside_wrong_parts_is_told() -> None:
    """Totals and fingerprints may be wrong by themselves; a wrong id, or reason, leaves nothing to go by."""
    for text, rest in (
        ('{"provider_session_id": "x", "usage": 7, "structure_fingerprint": [1]}', Result(provider_session_id="x")),
        ('{"usage": {"tokens": "a"}}', Result()),
        ('{"provider_session_id": 7, "usage": {"tokens": 1}}', None),
        ('{"provider_session_id": "x", "resume_failed": "tired"}', None),
    ):
        with pytest.raises(BadResultError) as caught:
            parse_result(text)
        assert caught.value.rest == rest
