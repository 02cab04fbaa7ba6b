"""What a node tells of its lookups."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from support.api import Api
from support.waiting import wait_until


class Figures:
    """What the node has counted of lookups by now."""

    def __init__(self, api: Api) -> None:
        self._samples = {
            (sample.name.removeprefix("sessioncast_"), *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(api.get("/metrics").text)
            for sample in family.samples
            if "lookup" in sample.name
        }

    def outcome(self, name: str) -> float:
        """Lookups that came out so."""
        return self._samples["lookup_cache_total", name]

    def source(self, name: str) -> float:
        """Lookups that were answered from there."""
        return self._samples["session_lookup_seconds_count", name]

    @property
    def entries(self) -> float:
        """Answers in memory."""
        return self._samples["lookup_cache_entries",]


def warm(api: Api, path: str, **params: Any) -> None:
    """Return once a lookup is answered from memory."""

    def is_warm() -> bool:
        before = Figures(api).outcome("hit")
        api.ok(api.get(path, params=params), 200)
        return Figures(api).outcome("hit") > before

    wait_until(is_warm, "a lookup to be answered from memory")
