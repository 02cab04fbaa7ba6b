"""What a program pays for `import sessioncast`."""

import subprocess
import sys
from importlib.resources import files

import pytest

HEAVY = ("anyio", "httpx2", "pytest", "rich", "stamina", "typer", "websockets", "sessioncast_server")
"""Libraries that are loaded when they are used, and the server, which a client does without."""


def loaded(program: str) -> set[str]:
    """Which of them a program has loaded at its end."""
    look = f"{program}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("program", "loads"),
    [
        ("import sessioncast", set()),
        ("import sessioncast.testing", set()),
        (("from sessioncast.testing import MemoryBackend\nimport sessioncast\n"
         "sessioncast.Client(backend=MemoryBackend()).cached"), set()),
        ("from sessioncast.testing import sessioncast_server", {"pytest"}),
        ("import sessioncast\nsessioncast.Client()", {"anyio", "httpx2"}),
    ],
)  # fmt: skip
def test_only_what_is_used_is_loaded(program: str, loads: set[str]) -> None:
    """Importing the client, or its parts for tests, loads none of the heavy libraries."""
    assert loaded(program) - {"anyio"} == loads - {"anyio"}


def test_the_import_alone_has_no_event_loop_library() -> None:
    """Neither the one of the sync facade nor the one of the HTTP library."""
    assert "anyio" not in loaded("import sessioncast, sessioncast.testing")


@pytest.mark.parametrize("package", ["sessioncast", "sessioncast_shared"])
def test_types_are_told(package: str) -> None:
    """Checkers read the package's own types; what is in it is in the wheel."""
    assert (files(package) / "py.typed").is_file()
