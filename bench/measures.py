"""Figures out of rows of rounds: medians, ratios within a round, the wait that so many do not exceed."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]


def at_share(waits: Sequence[float], share: float) -> float:
    """Return the wait that this share of them does not exceed; `waits` in order."""
    return waits[math.ceil(share * len(waits)) - 1]


def medians(rows: Iterable[Row], keys: Sequence[str], measures: Sequence[str]) -> dict[tuple[Any, ...], Row]:
    """Return the median of every measure per group, groups in the order in which they came."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return {
        key: dict(zip(keys, key, strict=True))
        | {name: statistics.median(row[name] for row in group) for name in measures}
        for key, group in groups.items()
    }


def paired(rates: Mapping[tuple[int, str], float], name: str, other: str) -> float | None:
    """Return the median of the ratios within each round, so that a round's noise falls on both; `rates` by round and contestant."""
    ratios = [
        rate / rates[number, other]
        for (number, who), rate in rates.items()
        if who == name and rates.get((number, other))
    ]
    return statistics.median(ratios) if ratios else None
