"""What `import sessioncast` has."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sessioncast


def test_every_name_is_there_and_known_to_type_checkers() -> None:
    """What is loaded when it is asked for is what is told to checkers, and nothing else is promised."""
    tree = ast.parse(Path(sessioncast.__file__).read_text())
    told = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    assert told == sessioncast._WHERE
    assert sorted(told) == sorted(sessioncast.__all__)
    assert set(told) <= set(dir(sessioncast))
    for name, module in told.items():
        assert getattr(sessioncast, name) is getattr(sys.modules[module], name)


def test_what_is_not_there_is_missed() -> None:
    """By the name that was asked for."""
    with pytest.raises(AttributeError, match="'Cleint'"):
        getattr(sessioncast, "Cleint")  # noqa: B009  a checker would refuse the attribute
    with pytest.raises(ImportError):
        exec("from sessioncast import Cleint")


def test_importing_it_loads_nothing() -> None:
    """Not a library, and not one module of its own."""
    code = "import sys; before = set(sys.modules); import sessioncast; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.startswith("sessioncast")] == ["sessioncast"]
    assert not {"pydantic", "httpx2", "websockets", "typer", "rich"} & set(loaded)
