"""What a node counts."""

import asyncio
from contextlib import suppress

from prometheus_client.parser import text_string_to_metric_families

from sessioncast_server.observe.looplag import watch_loop
from sessioncast_server.observe.metrics import CONTENT_TYPE, Metrics
from support.waiting import until

PROMISED = {
    "sessioncast_requests",
    "sessioncast_request_seconds",
    "sessioncast_request_statements",
    "sessioncast_mutations",
    "sessioncast_commit_seconds",
    "sessioncast_commit_group_size",
    "sessioncast_announce_failures",
    "sessioncast_whispers_dropped",
    "sessioncast_channel_lag",
    "sessioncast_subscribers",
    "sessioncast_deliveries",
    "sessioncast_resyncs",
    "sessioncast_gaps_found",
    "sessioncast_gaps_healed",
    "sessioncast_pool_connections",
    "sessioncast_pool_wait_seconds",
    "sessioncast_pool_failures",
    "sessioncast_database_bytes",
    "sessioncast_session_lookup_seconds",
    "sessioncast_lookup_cache",
    "sessioncast_lookup_cache_entries",
    "process_cpu_seconds",
}


def test_everything_promised_is_shown() -> None:
    """The text parses, and each promised figure is in it, with a meaning."""
    families = {family.name: family for family in text_string_to_metric_families(Metrics().render().decode())}
    assert set(families) >= PROMISED
    assert all(family.documentation for family in families.values())
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_requests_are_timed_by_route() -> None:
    """A count by status and a histogram over all of them."""
    metrics = Metrics()
    for status in (200, 200, 404):
        metrics.request("GET", "/things/{id}", status, 0.003)
    value = metrics.registry.get_sample_value
    labels = {"method": "GET", "route": "/things/{id}"}
    assert value("sessioncast_requests_total", {**labels, "status": "200"}) == 2
    assert value("sessioncast_requests_total", {**labels, "status": "404"}) == 1
    assert value("sessioncast_request_seconds_count", labels) == 3
    assert value("sessioncast_request_seconds_bucket", {**labels, "le": "0.005"}) == 3
    assert value("sessioncast_request_seconds_bucket", {**labels, "le": "0.0025"}) == 0


def test_made_up_methods_take_no_memory() -> None:
    """A thousand of them are one label."""
    metrics = Metrics()
    before = len(metrics.render())
    for number in range(1000):
        metrics.request(f"M{number}", "other", 405, 0.001)
    labels = {"method": "OTHER", "route": "other", "status": "405"}
    assert metrics.registry.get_sample_value("sessioncast_requests_total", labels) == 1000
    assert len(metrics.render()) < before + 3000


def test_two_nodes_in_one_process_do_not_mix() -> None:
    """Each has a registry of its own."""
    one, other = Metrics(), Metrics()
    one.snapshots.inc()
    assert other.registry.get_sample_value("sessioncast_snapshots_total") == 0


async def test_the_lag_of_the_loop_is_watched() -> None:
    """Timers are timed until the task is cancelled."""
    metrics = Metrics()
    task = asyncio.create_task(watch_loop(metrics, 0.001))
    seen = metrics.registry.get_sample_value
    await until(lambda: (seen("sessioncast_loop_lag_seconds_count") or 0) >= 3, "three timers")
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
