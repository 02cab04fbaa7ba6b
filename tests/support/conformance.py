"""The rules that all clients share, as cases: the same files are run against the browser's module."""

import json
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path(__file__).resolve().parents[1] / "conformance"


def cases(name: str, *having: str) -> list[Any]:
    """The cases of a file as parameters of a test.

    Args:
        having: members that a case must have to be among them, for files with cases of several shapes.
    """
    listed = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))["cases"]
    return [pytest.param(case, id=case["name"]) for case in listed if all(member in case for member in having)]
