"""The client's pages name what there is."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import sessioncast
from sessioncast import problems
from sessioncast.cli import connect
from sessioncast.cli.app import build
from sessioncast.cli.execution import OURS
from sessioncast_shared import texts

PAGE = (Path(__file__).parents[2] / "docs/client.md").read_text()
COMMANDS = (Path(__file__).parents[2] / "docs/cli.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_examples_use_what_is_exported(block: str) -> None:
    """Every block is Python, and takes only public names from the package."""
    compile(block, "client.md", "exec")
    names = set(re.findall(r"\bsessioncast\.(\w+)", block))
    assert names <= {*sessioncast.__all__}


def test_every_exception_stands_beside_its_code() -> None:
    """The table of refusals has a row for each code that has a class of its own, and for no other."""
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", PAGE, re.MULTILINE))
    assert rows == {str(code): kind.__name__ for code, kind in problems.BY_CODE.items()}
    assert {*rows.values()} <= {*sessioncast.__all__}


def test_the_prompt_is_shown_as_it_is() -> None:
    """The page of the commands quotes the exact texts."""
    assert f"sessioncast: {texts.LOSS}\n" in COMMANDS
    assert f"\n{texts.CONFIRM}\n[y: " in COMMANDS


def _commands() -> dict[str, Any]:
    """The client's own, without those that installed packages add."""
    return dict(get_command(build()).commands)  # type: ignore[attr-defined]  # it is a group


@pytest.mark.parametrize("name", _commands())
def test_every_command_has_its_place_on_the_page(name: str) -> None:
    """In the table, and in a section, which names every option that is not every command's."""
    assert f"| [`{name}`](#" in COMMANDS
    shared = {"--url", "--token", "--help", "--project", "--wait", "--json"}
    command = _commands()[name]
    options = {
        option for parameter in command.params if not getattr(parameter, "hidden", False) for option in parameter.opts
    }
    missing = [option for option in options - shared if option.startswith("--") and f"`{option}" not in COMMANDS]
    assert missing == []


def test_every_exit_code_is_on_the_page() -> None:
    """Those of all commands in the table, those of `exec` below it."""
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", COMMANDS, re.MULTILINE)}
    assert rows == {connect.OK, connect.REFUSED, connect.USAGE, connect.NO_ANSWER, connect.INTERRUPTED}
    assert all(f" {code} " in COMMANDS for code in (OURS, 126, 127, 128))
