"""The files that run sessioncast on several nodes, checked as far as a machine without Docker can."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sessioncast_server.settings import PREFIX, Settings, load

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
NODES = {name: service for name, service in OURS.items() if name.startswith("node-")}

_PINNED = re.compile(r"[\w./-]+:\d+\.\d+(\.\d+)?(-[\w.]+)*(@sha256:[0-9a-f]{64})?")


def test_the_parts_are_there() -> None:
    """PostgreSQL, Redis, a migration, two nodes and a proxy, the nodes differing in nothing but their names."""
    assert set(SERVICES) == {"postgres", "redis", "migrate", "node-a", "node-b", "proxy"}
    assert NODES["node-a"] == NODES["node-b"]


@pytest.mark.parametrize("name", OURS)
def test_settings_exist(name: str) -> None:
    """Every variable a node or the migration is given is a setting."""
    known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
    assert set(OURS[name]["environment"]) <= known


def test_settings_make_a_server() -> None:
    """The nodes' settings are accepted once the secret is filled in."""
    given = NODES["node-a"]["environment"]
    filled = {name: re.sub(r"\$\{\w+:-(\w+)\}", r"\1", value) for name, value in given.items()}
    settings = load(filled | {"SESSIONCAST_JWT_SECRET": "s" * 32})
    assert settings.database_url == "postgresql://sessioncast:sessioncast@postgres:5432/sessioncast"
    assert settings.redis_url == "redis://redis:6379/0"


@pytest.mark.parametrize("name", OURS)
def test_the_secret_is_required(name: str) -> None:
    """Without a secret nothing starts; there is no default one to forget."""
    assert OURS[name]["environment"]["SESSIONCAST_JWT_SECRET"].startswith("${SESSIONCAST_JWT_SECRET:?")


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    """Every image has an exact version."""
    assert _PINNED.fullmatch(SERVICES[name]["image"])


def test_the_base_image_is_pinned() -> None:
    """So have those that ours is built from."""
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert bases
    assert all(map(_PINNED.fullmatch, bases))


@pytest.mark.parametrize("name", SERVICES)
def test_waits_can_end(name: str) -> None:
    """What is waited for says when it is well, or ends by itself."""
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        if wait["condition"] == "service_healthy":
            assert SERVICES[other]["healthcheck"]["test"]
        else:
            assert wait["condition"] == "service_completed_successfully"
            assert SERVICES[other]["restart"] == "no"


def test_the_order_of_the_start() -> None:
    """First the database is well, then the migration is done, then the nodes are well, then the proxy starts."""
    assert SERVICES["migrate"]["depends_on"]["postgres"] == {"condition": "service_healthy"}
    for node in NODES.values():
        assert node["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert node["depends_on"]["redis"] == {"condition": "service_healthy"}
    assert SERVICES["proxy"]["depends_on"] == {name: {"condition": "service_healthy"} for name in NODES}


def test_only_the_proxy_is_reachable() -> None:
    """No other part has a port outside the containers' network."""
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]


def test_the_proxy_knows_the_nodes() -> None:
    """The proxy's upstreams are the nodes, at the port they listen on."""
    line = re.search(r"^\s*reverse_proxy (.+) \{$", (ROOT / "deploy/Caddyfile").read_text(), re.MULTILINE)
    assert line is not None
    port = NODES["node-a"]["environment"]["SESSIONCAST_PORT"]
    assert line[1].split() == [f"{name}:{port}" for name in NODES]


def test_the_proxy_lets_go_of_a_stream() -> None:
    """The proxy is not told to flush by hand: Caddy then keeps a node's stream open when its reader is gone."""
    lines = [line.strip() for line in (ROOT / "deploy/Caddyfile").read_text().splitlines()]
    assert not any(line.startswith("flush_interval") for line in lines)


def test_the_image_has_what_it_copies() -> None:
    """Everything the image is built from is in the tree and let through by .dockerignore."""
    lines = re.findall(r"^COPY ([^-].*)$", DOCKERFILE, re.MULTILINE)
    sources = [source for line in lines for source in line.split()[:-1]]
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(sources) == let_through
    assert all((ROOT / source).exists() for source in sources)
