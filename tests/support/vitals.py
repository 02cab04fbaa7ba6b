"""What a node says of itself, and what the kernel says of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from support.node import Node
from support.waiting import DEADLINE_S, PERIOD_S


async def readiness(node: Node) -> tuple[int, dict[str, Any]]:
    """Status and document of `/health/ready`."""
    # Without certificates, which take longer to load than the answer takes to come.
    async with httpx2.AsyncClient(timeout=30, verify=False) as http:
        answer = await http.get(f"{node.url}/health/ready")
    return answer.status_code, answer.json()


async def becomes(node: Node, status: int, word: str) -> list[str]:
    """Return the reasons, as soon as its readiness is this."""
    seen: list[tuple[int, dict[str, Any]]] = []

    async def so() -> bool:
        seen.append(await readiness(node))
        return (seen[-1][0], seen[-1][1]["status"]) == (status, word)

    await until_so(so, lambda: f"{status} {word}; the last was {seen[-1:]}")
    reasons: list[str] = seen[-1][1]["reasons"]
    return reasons


async def metrics(node: Node) -> dict[str, float]:
    """Samples of `/metrics`, by name with labels as `name{label="value"}`; labels sorted."""
    async with httpx2.AsyncClient(timeout=30, verify=False) as http:
        text = (await http.get(f"{node.url}/metrics")).text
    return {
        sample.name + _labels(sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def until_so(
    so: Callable[[], Awaitable[bool]], what: Callable[[], str], *, deadline_s: float = DEADLINE_S
) -> None:
    """Return as soon as the answer is yes.

    Raises:
        TimeoutError: it was not, within the deadline.
    """
    end = time.monotonic() + deadline_s
    while not await so():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {deadline_s:g} s for {what()}")
        await asyncio.sleep(PERIOD_S)


def descriptors(node: Node) -> int:
    """Sockets, pipes and the like that its process has open; not files, of which the store opens some when it must."""
    links = (_link(entry) for entry in Path(f"/proc/{node.pid}/fd").iterdir())
    return sum(1 for link in links if not link.startswith("/"))


def threads(node: Node) -> int:
    """Threads of its process."""
    return sum(1 for _ in Path(f"/proc/{node.pid}/task").iterdir())


def _labels(labels: dict[str, str]) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{{{inside}}}" if inside else ""


def _link(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except FileNotFoundError:  # closed while we looked
        return "/"
