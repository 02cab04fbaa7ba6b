"""The browser's module by the cases that all clients share."""

import json
from pathlib import Path

import pytest

from support.modulepage import ModulePage

pytestmark = pytest.mark.asyncio(loop_scope="session")

CASES = Path(__file__).parents[1] / "conformance"
RUNNER = Path(__file__).with_name("conformance.js")


async def test_the_module_keeps_the_rules(module_page: ModulePage) -> None:
    """Every case of every file holds in Chromium as it does in Python."""
    files = {path.stem: json.loads(path.read_text())["cases"] for path in sorted(CASES.glob("*.json"))}
    assert {"sse", "frames", "mirror", "pace", "backoff", "ladder", "polls"} <= set(files)
    page = module_page.page
    await page.route("**/conformance.js", lambda route: route.fulfill(path=RUNNER, content_type="text/javascript"))
    script = """async (files) => {
        const { run } = await import("/conformance.js");
        return run((name) => import(`/client/${name}.js`), files);
    }"""
    failures = await page.evaluate(script, files)
    assert failures == [], "\n".join(failures)
