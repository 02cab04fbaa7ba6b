"""What is installed is what was built, not what lies in a checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_all_that_runs(tmp_path: Path) -> None:
    """All three packages are in the wheel, with pages, migrations and type marks, and no tests."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    folders = {"server": "sessioncast_server", "client": "sessioncast", "shared": "sessioncast_shared"}
    for side, package in folders.items():
        kept = {
            str(path.relative_to(ROOT / side))
            for path in (ROOT / side / package).rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }
        assert kept <= names
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == set(folders.values())
    assert "sessioncast_server/db/migrations/versions/0001_spine.py" in names
    assert "sessioncast_server/console/index.html" in names
    scripts = {path.name for path in (ROOT / "client/js").glob("*.js")}
    assert {f"sessioncast_server/console/client/{name}" for name in scripts} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
