"""The pages lead where they say."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_OTHERS = {"node_modules", "data", "dist"}


def _pages() -> list[Path]:
    pages = (page.relative_to(ROOT) for page in ROOT.rglob("*.md"))
    return sorted(page for page in pages if not any(part.startswith(".") or part in _OTHERS for part in page.parts))


def _anchors(text: str) -> set[str]:
    """Names of the headings, as the usual renderers make them."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in _HEADING.findall(text)}


def _dead(page: Path, text: str) -> list[str]:
    """Links to files, or to headings of pages, that are not there."""
    found = []
    for link in _LINK.findall(_FENCED.sub("", text)):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(_FENCED.sub("", target.read_text()))):
            found.append(link)
    return found


@pytest.mark.parametrize("page", _pages(), ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of every page names a file that exists, and its heading if it names one."""
    assert _dead(ROOT / page, (ROOT / page).read_text()) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    """The test above finds what it is for, and lets pass what is elsewhere or in a block."""
    page = tmp_path / "page.md"
    page.write_text("# Here\n[a](none.md) [b](#here) [c](#there) [d](https://x/y.md) [e](page.md)\n```\n[f](no)\n```\n")
    assert _dead(page, page.read_text()) == ["none.md", "#there"]
