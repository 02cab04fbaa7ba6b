"""How two models compare, without a database."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

DEFAULT_CRITICAL = frozenset({"temperature", "top_p", "max_tokens", "system_prompt", "tools", "reasoning_effort"})
"""Parameters that make another model of the same name and version."""

_DIGITS = re.compile(r"[0-9]+")
_DAY = re.compile(r"([0-9]{4})([-._/])([0-9]{2})\2([0-9]{2})(?![0-9])")
# 2025-08-3 is neither a day nor a month: what goes on like a date must be one.
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})(?!-?[0-9])")
_MOST_DIGITS = 4000
"""Versions of requests have 200 characters at most; Python reads no number of more than 4,300 digits."""

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """How a wished model differs from that of the live session.

    Attributes:
        result: `same`; `minor`, which counts as the same unless the caller says otherwise; `changed`.
        fields: what differs: `name`, `version`, `params.<name>` (sorted).
    """

    result: Literal["same", "minor", "changed"]
    fields: tuple[str, ...] = ()


def compare(old: dict[str, Any], new: dict[str, Any], *, critical: frozenset[str] = DEFAULT_CRITICAL) -> Difference:
    """How two models differ. What comes first or second does not matter; only `name`, `version` and `params` count.

    Args:
        old, new: `{"name", "version"?, "params"?}`; null is the same as absent, and so are empty `params`.
        critical: names of parameters that make a change of their own.
    """
    fields = [name for name in ("name", "version") if not _equal(old.get(name), new.get(name))]
    changed = "name" in fields or ("version" in fields and _other_version(old.get("version"), new.get("version")))
    old_params, new_params = _params(old), _params(new)
    if isinstance(old_params, dict) and isinstance(new_params, dict):
        differing = sorted(
            name
            for name in old_params.keys() | new_params.keys()
            if not _equal(old_params.get(name, _ABSENT), new_params.get(name, _ABSENT))
        )
        fields += [f"params.{name}" for name in differing]
        changed = changed or not critical.isdisjoint(differing)
    elif not _equal(old_params, new_params):
        fields.append("params")
        changed = True
    if not fields:
        return Difference("same")
    return Difference("changed" if changed else "minor", tuple(fields))


def major(version: str | None) -> int | None:
    """The first number of a version; None when it has none.

    The first run of ASCII digits counts, whatever stands before it. Where a date stands there the whole date is the
    number: 20250801 for `2025-08-01` (also with `.`, `_` or `/`), 202508 for `2025-08`.
    """
    found = _DIGITS.search(version or "")
    if found is None or version is None:
        return None
    if (day := _DAY.match(version, found.start())) and _is_day(day[1], day[3], day[4]):
        return int(day[1] + day[3] + day[4])
    if (month := _MONTH.match(version, found.start())) and _is_day(month[1], month[2], "01"):
        return int(month[1] + month[2])
    return int(found[0][:_MOST_DIGITS])


def _params(model: dict[str, Any]) -> Any:
    params = model.get("params")
    return {} if params is None else params


def _other_version(old: Any, new: Any) -> bool:
    if isinstance(old, str | None) and isinstance(new, str | None):
        return major(old) != major(new)
    return True


def _is_day(year: str, month: str, day: str) -> bool:
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return False
    return True


def _equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same: as Python's `==`, but that `true` is not 1, however deep they nest."""
    pairs = [(one, other)]
    while pairs:
        left, right = pairs.pop()
        if isinstance(left, dict) and isinstance(right, dict):
            if left.keys() != right.keys():
                return False
            pairs += [(value, right[name]) for name, value in left.items()]
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            pairs += zip(left, right, strict=True)
        elif isinstance(left, bool) is not isinstance(right, bool) or left != right:
            return False
    return True
