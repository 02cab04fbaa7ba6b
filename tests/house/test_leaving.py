"""What the tests of a folder share ends with the folder."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
_ALL = """
import pytest
from support.leaving import Leaving

def pytest_configure(config):
    config.pluginmanager.register(Leaving())

@pytest.fixture(scope="session")
def everybodys():
    print("made: everybody's")
    yield
    print("ended: everybody's")
"""
_FOLDER = """
import pytest

@pytest.fixture(scope="session")
def base(everybodys):
    print("made: base of NAME")
    yield
    print("ended: base of NAME")

@pytest.fixture(scope="session", params=[1, 2])
def node_NAME(base, request):
    print("made: NAME", request.param)
    yield
    print("ended: NAME", request.param)
"""
_MODULE = """
def test_it(node_NAME):
    print("tested: NAME")
"""
_TOLD = """
made: everybody's
made: base of a
made: a 1
tested: a
ended: a 1
made: a 2
tested: a
tested: a
ended: a 2
ended: base of a
made: base of b
made: b 1
tested: b
ended: b 1
made: b 2
tested: b
ended: b 2
ended: base of b
ended: everybody's
"""


def test_what_a_folder_shares_ends_when_it_is_left(tmp_path: Path) -> None:
    """It stays from module to module, ends before the next folder's begins, users first; the suite's stays."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    tests = tmp_path / "tests"
    for name in "ab":
        folder = tests / name
        folder.mkdir(parents=True)
        (folder / "conftest.py").write_text(_FOLDER.replace("NAME", name))
        (folder / f"test_{name}.py").write_text(_MODULE.replace("NAME", name))
    (tests / "conftest.py").write_text(_ALL)
    (tests / "a" / "test_more.py").write_text(_MODULE.replace("node_NAME", "base").replace("NAME", "a"))
    order = ["tests/a/test_a.py::test_it[1]", "tests/a/test_a.py::test_it[2]", "tests/a/test_more.py", "tests/b"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *order],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    words = ("made:", "ended:", "tested:")
    told = [line.lstrip(".") for line in done.stdout.splitlines() if line.lstrip(".").startswith(words)]
    assert told == _TOLD.strip().splitlines()
