"""The command line as a process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SESSIONCAST_")}
    plain |= {"NO_COLOR": "1", "COLUMNS": "200", **(env or {})}
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=plain, timeout=60)


def test_importing_the_client_loads_no_library_it_may_not_need() -> None:
    """A program that only wants the types pays neither for the HTTP library nor for the command line."""
    heavy = "{'httpx2', 'websockets', 'typer', 'rich', 'sessioncast_server'}"
    done = run("-c", f"import sys, sessioncast; print({heavy} & set(sys.modules))")
    assert done.stdout == "set()\n", done.stderr


def test_naming_the_commands_loads_none_of_them() -> None:
    """Help, and a shell that completes, wait for what names the commands only, not for what they are made of."""
    heavy = "{'httpx2', 'websockets', 'rich.live', 'sessioncast_server', 'sessioncast.client', 'fcntl', 'tty'}"
    loaded = f"{heavy} & (set(sys.modules) - before)"
    code = f"import sys; before = set(sys.modules); import sessioncast.cli.app; print({loaded})"
    done = run("-c", f"import sessioncast.client; {code}")
    assert done.stdout == "set()\n", done.stderr


def test_a_shell_can_be_taught() -> None:
    """The script that completes is printed for the shell that is named."""
    done = run(
        "-m", "sessioncast", "--show-completion", "bash", env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    )
    assert "_SESSIONCAST_COMPLETE=complete_bash" in done.stdout


@pytest.fixture
def plugins(tmp_path: Path) -> dict[str, str]:
    """An environment with two installed packages: one adds `hello`, the other lacks a library."""
    (tmp_path / "good.py").write_text("def register(app):\n    app.command('hello')(lambda: print('hello'))\n")
    (tmp_path / "bad.py").write_text("import a_library_that_is_not_there\n")
    for name, module in (("greeting", "good"), ("broken", "bad")):
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (folder / "entry_points.txt").write_text(f"[sessioncast.commands]\n{name} = {module}:register\n")
    return {"PYTHONPATH": str(tmp_path)}


def test_installed_packages_add_commands(plugins: dict[str, str]) -> None:
    """A package's command runs like the client's own, and is listed with them."""
    assert run("-m", "sessioncast", "hello", env=plugins).stdout == "hello\n"
    listed = run("-m", "sessioncast", "--help", env=plugins).stdout
    assert all(name in listed for name in ("watch", "exec", "hello"))


def test_a_package_without_its_libraries_is_a_hint(plugins: dict[str, str]) -> None:
    """A command that an extra would bring is answered by how to get the extra, not by a traceback."""
    done = run("-m", "sessioncast", "made-up", env=plugins)
    assert done.returncode == 2
    assert "No module named 'a_library_that_is_not_there'" in done.stderr
    assert "pip install 'sessioncast[broken]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_clients_own_commands_do_not_load_the_others(plugins: dict[str, str]) -> None:
    """`watch` and `exec` start as fast, and work, whatever else is installed and broken."""
    done = run("-m", "sessioncast", "exec", "--help", env=plugins)
    assert done.returncode == 0
    assert "a_library_that_is_not_there" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["exec", "--task", "T", "--phase", "odd", "--", "true"], 2, "no phase is called 'odd'"),
        (["exec", "--task", "T", "--", "/no/such/command"], 127, "no such command"),
        (["exec", "--", "true"], 2, "--task"),
        (["watch", "--output-only"], 2, "needs --task or --session"),
        (["watch", "--task", "x", "--output-only", "--json"], 2, "not JSON"),
        (["watch", "--transport", "pigeon"], 2, "pigeon"),
        (["spool", "send", "/no/such/file"], 1, "No such file"),
        (["start", "T", "run"], 2, "argument 'model'"),
        (["watch", "--task", "nonsense"], 2, "not an id"),
        (["watch", "--url", "ftp://x"], 2, "ftp"),
        (["list", "--url", "localhost:8080"], 2, "http://"),
    ],
)
def test_what_cannot_be_meant_is_told_in_a_line(arguments: list[str], code: int, text: str) -> None:
    """Bad arguments end with a sentence and a status, before anything is sent."""
    done = run("-m", "sessioncast", *arguments)
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr
