"""What no file of the tree may hold."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_LINES = 400

_GROWS = {"CHANGELOG.md"}
_DATA = {".json", ".svg", ".png", ".ico"}
_CACHES = {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"}
_MADE = _CACHES | {".git", ".env", ".venv", "data", "dist", "node_modules"}

_HOSTS = re.compile(r"index[-]url|find[-]links|:/{2}pypi|files\.pythonhosted|registry\.npmjs")
_PATHS = re.compile(r"(?<![\w.])/(?:root|home|work|Users)/\w")
_MARK = re.compile(r"#\s*(?:noqa|type:\s*ignore|pragma:\s*no cover|mypy:)")
_EXPLAINED = re.compile(
    r"# noqa: [A-Z]+\d+(?:, ?[A-Z]+\d+)*\s+\S+ \S+"
    r"|# type: ignore\[[\w, -]+\]\s+(?:# )?\S+ \S+"
    r"|# pragma: no cover\s+\S+ \S+"
)


def _files(folder: Path = ROOT) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in _MADE or path.is_symlink() or path.name.startswith(".coverage"):
            continue
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _texts(suffix: str = "") -> Iterator[tuple[str, str]]:
    for path in _files():
        if path.suffix not in _DATA and path.name.endswith(suffix):
            yield str(path.relative_to(ROOT)), path.read_text()


def _leaks(text: str) -> list[str]:
    return [line for line in text.splitlines() if _HOSTS.search(line) or _PATHS.search(line) or str(ROOT) in line]


def _unexplained(source: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    return [comment for comment in comments if _MARK.search(comment) and not _EXPLAINED.search(comment)]


def test_files_are_short() -> None:
    """No file has over 400 lines: then it holds two nouns."""
    lengths = {name: len(text.splitlines()) for name, text in _texts() if name not in _GROWS}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_no_machine_is_named() -> None:
    """No file names a folder of somebody's machine or a package registry."""
    assert [(name, leaks) for name, text in _texts() if (leaks := _leaks(text))] == []


def test_ignores_are_explained() -> None:
    """Whatever is told to be silent says which rule and why, in its line."""
    assert [(name, bare) for name, text in _texts(".py") if (bare := _unexplained(text))] == []


@pytest.mark.parametrize(
    "line",
    [
        "pip install --index" + "-url x",
        "https:/" + "/pypi.org/simple",
        "cd /ro" + "ot/project",
        '"/ho' + 'me/me/x"',
        f"open({str(ROOT)!r})",
    ],
)
def test_a_leak_is_caught(line: str) -> None:
    """The patterns find what they are for."""
    assert _leaks(line) == [line]


@pytest.mark.parametrize("comment", ["noqa", "noqa: S101", "type: ignore", "type: ignore[arg-type]"])
def test_an_unexplained_ignore_is_caught(comment: str) -> None:
    """An ignore without a reason is not let through."""
    assert _unexplained(f"x = 1  # {comment}\n")


@pytest.mark.parametrize("comment", ["noqa: S101  for a reason", "type: ignore[arg-type]  # for a reason"])
def test_an_explained_ignore_passes(comment: str) -> None:
    """An ignore with its rule and a reason is let through."""
    assert not _unexplained(f"x = 1  # {comment}\n")
