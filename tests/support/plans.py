"""How a database means to run a statement."""

import re
import sqlite3
from collections.abc import Iterator
from typing import Any

import psycopg

from sessioncast_server.db.statement import POSTGRESQL, SQLITE, Statement

_SCAN = re.compile(r"SCAN (\w+)")
_INDEX = re.compile(r"SEARCH (\w+) USING (?:COVERING )?(?:INDEX (\w+)|(PRIMARY KEY))")
_PARAMETER = re.compile(r"%\((\w+)\)s")


class Plan:
    """What a plan does to tables.

    Attributes:
        text: as the database told it.
        scanned: tables that are read whole, be it by an index.
        indexes: those that are searched.
    """

    def __init__(self, text: str, scanned: set[str], indexes: set[str]) -> None:
        self.text = text
        self.scanned = scanned
        self.indexes = indexes


def sqlite_plan(connection: sqlite3.Connection, statement: Statement, params: dict[str, Any]) -> Plan:
    """By EXPLAIN QUERY PLAN."""
    compiled = statement.on(SQLITE)
    rows = connection.execute(f"EXPLAIN QUERY PLAN {compiled.sql}", compiled.bind(dict(params))).fetchall()
    text = "\n".join(row[3] for row in rows)
    made = {"uses", "places"}  # what a subquery found
    scanned = set(_SCAN.findall(text)) - {"json_each", "CONSTANT"} - made
    return Plan(text, scanned, {index or f"{table}_pkey" for table, index, _ in _INDEX.findall(text)})


def postgres_plan(connection: psycopg.Connection[Any], statement: Statement, params: dict[str, Any]) -> Plan:
    """By EXPLAIN, with sequential scans made dear."""
    compiled = statement.on(POSTGRESQL)
    found = connection.execute(f"EXPLAIN (FORMAT JSON) {compiled.sql}", compiled.bind(dict(params))).fetchone()
    assert found is not None
    return _told(found[0][0])


def postgres_generic_plan(connection: psycopg.Connection[Any], statement: Statement, params: dict[str, Any]) -> Plan:
    """As `postgres_plan`, but planned before the parameters are known, as prepared statements come to be."""
    compiled = statement.on(POSTGRESQL)
    values = compiled.bind(dict(params))
    names = list(dict.fromkeys(_PARAMETER.findall(compiled.sql)))
    text = _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", compiled.sql)
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute("SET plan_cache_mode = force_generic_plan")
        cursor.execute(f"PREPARE generic AS {text}")
        places = ", ".join(["%s"] * len(names))
        cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE generic({places})", [values[name] for name in names])
        found = cursor.fetchone()
        cursor.execute("DEALLOCATE generic")
    assert found is not None
    return _told(found[0][0])


def _told(explained: dict[str, Any]) -> Plan:
    nodes = list(_nodes(explained["Plan"]))
    indexed = [node for node in nodes if "Index Cond" in node]
    scanned = {
        node["Relation Name"]
        for node in nodes
        if node["Node Type"] == "Seq Scan" or ("Index Name" in node and "Index Cond" not in node)
        if "Relation Name" in node
    }
    return Plan(str(explained), scanned, {node["Index Name"] for node in indexed})


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)
