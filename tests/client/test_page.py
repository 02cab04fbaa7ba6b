"""The client's page names what there is."""

import re
from pathlib import Path

import pytest

import sessioncast
from sessioncast import problems
from sessioncast_shared import texts

PAGE = (Path(__file__).parents[2] / "docs/client.md").read_text()
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
    """The page quotes the exact texts."""
    assert f"sessioncast: {texts.LOSS}\n" in PAGE
    assert f"\n{texts.CONFIRM}\n[y: " in PAGE
