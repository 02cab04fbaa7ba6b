"""What responders are given, and how they are found by name."""

import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sessioncast_server.threads.responder import Context, Said, load_responder

CONTEXT = Context("p", "ann", "t")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ({"type": "input_text", "text": "a"}, "a"),
        ({"role": "user", "content": "b"}, "b"),
        ({"content": [{"type": "output_text", "text": "c"}, {"type": "image"}, {"type": "text", "text": "d"}]}, "c\nd"),
        ([{"text": "no type"}, "e"], "e"),
        ({"type": "text"}, ""),
        ({"type": "reasoning", "summary": []}, ""),
        (None, ""),
        (7, ""),
    ],
)
def test_what_was_said_has_a_text(content: Any, text: str) -> None:
    """A text as it is, parts that are text line by line, everything else nothing."""
    assert Said("user", content, 1, datetime(2026, 1, 2, tzinfo=UTC)).text == text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Writes a module into the working folder; its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    names: list[str] = []

    def write(source: str) -> str:
        names.append(f"answers_{tmp_path.name}_{len(names)}".replace("-", "_"))
        (tmp_path / f"{names[-1]}.py").write_text(source)
        return names[-1]

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_a_responder_is_found_in_the_working_folder(folder: Callable[[str], str]) -> None:
    """`module:function`, also a member of something in it; the working folder is looked into first."""
    name = folder(
        "def f(context, message):\n    return 'f'\nclass Bots:\n    def g(context, message):\n        return 'g'\n"
    )
    assert load_responder(f"{name}:f")(CONTEXT, "x") == "f"
    assert load_responder(f"{name}:Bots.g")(CONTEXT, "x") == "g"
    assert sys.path[0] == str(Path.cwd())
    assert load_responder("sessioncast_server.threads.recall:respond").__module__.endswith(".recall")


def test_what_cannot_be_loaded_says_why(folder: Callable[[str], str]) -> None:
    """A module or function that is not there, cannot be imported, or is no function: a text that says which it is."""
    broken, text = folder("raise RuntimeError('no key')"), folder("f = 'text'\ndef broken(:\n")
    plain = folder("f = 'text'")
    for name, reason in (
        ("no_such_module:f", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
        (f"{plain}:g", f"cannot be loaded: AttributeError: module '{plain}' has no attribute 'g'"),
        (f"{plain}:f", "f is no function"),
        (f"{broken}:f", "cannot be loaded: RuntimeError: no key"),
        (f"{text}:f", "cannot be loaded: SyntaxError: "),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(reason)}"):
            load_responder(name)
