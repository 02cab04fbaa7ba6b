"""Imports point one way.

api, transports, jobs -> service, hub -> rules, log -> db, broker.base -> sessioncast_shared
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from support.imports import Import, environment_readers, imports_of, modules_under

ROOT = Path(__file__).parents[2]

PACKAGES = {
    # package: which of the others it may import
    "sessioncast_shared": (),
    "sessioncast": ("sessioncast_shared",),
    "sessioncast_server": ("sessioncast_shared",),
}

SERVER: list[tuple[str, str]] = [
    # Who: what of the server it may import. The first row that fits counts. A name covers what is below it, `*` is any
    # part of a name, `own` is the importer's folder, `-` takes away. What is not one of our folders is a feature.
    ("app parts thread_parts __main__ server workers", "*"),
    ("settings settings_groups", "settings_groups"),
    ("problems", "db.errors"),
    ("jsontext mergepatch", ""),
    ("schema", "*.tables"),
    ("db.migrations db.migrations_check", "db schema"),
    ("db.open", "db settings"),
    ("db", "db broker.base"),
    ("broker.base", ""),
    ("broker", "broker"),
    ("observe.api", "observe db broker.base channels problems web auth"),
    ("observe", "observe problems"),
    ("auth.openmode", "auth problems web.refuse"),
    ("auth", "auth problems"),
    ("web", "web auth db problems observe"),
    ("*.tables", "db"),
    ("channels.log", "channels.audience channels.encoding channels.tables db broker.base"),
    ("channels", "channels db broker.base problems observe"),
    ("transports", "transports channels *.service db web auth problems observe"),
    ("cache", "cache"),
    ("*.lookup *.views", "own -own.tables *.service *.rules exchange cache channels db web auth problems observe"),
    ("console", "console web auth problems"),
    ("jobs", "jobs exchange *.service *.cleanup *.rules channels db problems observe"),
    ("exchange", "exchange channels web db problems observe"),
    ("*.rules", "*.rules problems"),
    ("turns.queue", "turns exchange db web problems"),
    (
        "*.service",
        "own -own.api *.service *.record *.rules channels.log channels.audience auth.principal db problems observe",
    ),
    (
        "*.api *_api *.requests *.changes",
        "own -own.tables *.service *.rules turns -turns.tables exchange channels db web auth problems observe",
    ),
    ("*", "own -own.api *.service *.record *.rules channels auth db problems observe"),
]

PURE = "jsontext mergepatch"
"""Functions without state, for everybody."""

BACKENDS = "broker.memory broker.redis cache.redis db.sqlite db.postgres"
MAY_NAME_BACKENDS = "app parts __main__ db.open db.migrate"

READS_ENVIRONMENT = "sessioncast_server.settings"


def _all_modules() -> dict[str, Path]:
    return {name: path for side in ("server", "client", "shared") for name, path in modules_under(ROOT / side).items()}


MODULES = _all_modules()


def _fits(module: str, patterns: str) -> bool:
    return any(fnmatchcase(module, part) or fnmatchcase(module, f"{part}.*") for part in patterns.split())


def _complaint(found: Import) -> str | None:
    """Why an import must not be, None if it may."""
    package, _, importer = found.importer.partition(".")
    other, _, imported = found.imported.partition(".")
    if package != other:
        allowed = other not in PACKAGES or other in PACKAGES[package]
        return None if allowed else f"{package} must not import {other}"
    if package != "sessioncast_server" or not imported:
        return None
    if _fits(imported, BACKENDS) and not _fits(importer, MAY_NAME_BACKENDS) and importer != imported:
        return "only app.py and parts.py name a concrete backend"
    if _fits(imported, PURE):
        return None
    row = next(may for who, may in SERVER if _fits(importer, who)).split()
    own = importer.partition(".")[0]
    may = " ".join(part.replace("own", own) for part in row if not part.startswith("-"))
    may_not = " ".join(part[1:].replace("own", own) for part in row if part.startswith("-"))
    if _fits(imported, may) and not _fits(imported, may_not):
        return None
    return f"may import {' '.join(row) or 'nothing of the server'}"


def _complaints(module: str, source: str, *, is_package: bool = False) -> Iterator[str]:
    for found in imports_of(module, source, is_package=is_package, known=frozenset(MODULES)):
        if complaint := _complaint(found):
            yield f"{found.importer}:{found.line} imports {found.imported}: {complaint}"
    if module != READS_ENVIRONMENT:
        yield from (f"{module}:{line} reads the environment" for line in environment_readers(source))


def test_imports_point_one_way() -> None:
    """No module imports what lies above or beside it, and none but settings reads the environment."""
    found = [
        complaint
        for module, path in MODULES.items()
        for complaint in _complaints(module, path.read_text(), is_package=path.name == "__init__.py")
    ]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sessioncast.client", "import sessioncast_server.problems"),
        ("sessioncast_server.sessions.api", "from sessioncast import Client"),
        ("sessioncast_shared.codes", "from sessioncast_server.db import errors"),
        ("sessioncast_server.sessions.service", "from sessioncast_server.tasks.tables import TaskRow"),
        ("sessioncast_server.sessions.service", "from sessioncast_server.sessions.api import endpoints"),
        ("sessioncast_server.sessions.service", "def f():\n    from ..channels import hub"),
        ("sessioncast_server.sessions.api", "from .tables import SessionRow"),
        ("sessioncast_server.sessions.rules", "from sessioncast_server.db.transaction import WriteTx"),
        ("sessioncast_server.channels.log", "from sessioncast_server.channels.ring import Ring"),
        ("sessioncast_server.channels.hub", "from sessioncast_server.broker.redis import RedisBroker"),
        ("sessioncast_server.sessions.api", "from sessioncast_server.db.sqlite import SqliteDatabase"),
        ("sessioncast_server.web.endpoint", "from sessioncast_server.sessions.service import start"),
        ("sessioncast_server.web.endpoint", "from sessioncast_server.settings import Settings"),
        ("sessioncast_server.db.database", "from sessioncast_server.sessions.tables import SessionRow"),
        ("sessioncast_server.sessions.lookup", "from sessioncast_server.cache.redis import RedisCache"),
        ("sessioncast_server.cache.aside", "from sessioncast_server.channels.hub import Hub"),
        ("sessioncast_server.broker.redis", "from sessioncast_server.channels.log import Log"),
        ("sessioncast_server.settings_groups.store", "from sessioncast_server.db.database import Database"),
        ("sessioncast_server.settings_groups.store", "import os\nos.environ['X']"),
        ("sessioncast_server.app", "import os\nos.environ['X']"),
        ("sessioncast.client", "from os import getenv"),
    ],
)
def test_a_bad_import_is_caught(module: str, source: str) -> None:
    """The rules say no where they should."""
    assert list(_complaints(module, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sessioncast_server.app", "from sessioncast_server.broker.redis import RedisBroker"),
        ("sessioncast_server.sessions.api", "from sessioncast_server.sessions.service import start"),
        ("sessioncast_server.sessions.service", "from sessioncast_server.tasks.service import lock"),
        ("sessioncast_server.sessions.service", "from .tables import SessionRow"),
        ("sessioncast_server.settings", "import os\nos.environ['X']"),
        ("sessioncast.client", "from sessioncast_shared.phases import Phase"),
    ],
)
def test_a_good_import_passes(module: str, source: str) -> None:
    """The rules do not say no to everything."""
    assert not list(_complaints(module, source))
