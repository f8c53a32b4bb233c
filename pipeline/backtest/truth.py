"""What really happened: incidents from a file of truth, or from prices.

A file of truth holds JSON lines {entity, kind, from_ms, to_ms}, as ``groundswell produce synthetic`` writes. Kinds that begin
or end with a word for a flood, a control, or mere volume, as ``bot_flood`` does, are traps: an alert inside is a false alert
like any other. A line that stands twice is one incident.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.adapters.json_lines import SHOWN_CHARS, read_objects, text_field
from pipeline.backtest.prices import Prices
from pipeline.contract import EARLIEST_MS, LATEST_MS
from pipeline.errors import ConfigurationError

EVENT_Z = -3.0
ALERT_Z = -2.0
MERGE_SESSIONS = 3
TRAP_WORDS = frozenset({"flood", "control", "coordinated", "positive", "volume"})
PRICE_KIND = "abnormal_loss"


class Incident(NamedTuple):
    """Something that an alert should tell about: ``entity`` in [from_ms, to_ms)."""

    entity: str
    kind: str
    from_ms: int
    to_ms: int

    @property
    def is_trap(self) -> bool:
        """Return whether this is there to be left alone."""
        words = re.findall(r"[^\W_]+", self.kind.lower())
        return not TRAP_WORDS.isdisjoint(words[:1] + words[-1:])


def read_truth(path: Path, known_entities: Iterable[str]) -> tuple[Incident, ...]:
    """Return the incidents of a file in time order, each once.

    Raises ConfigurationError for a line that lacks a field, ends before it begins, or names an entity the posts never do.
    """
    incidents = {_incident(row, where) for where, row in read_objects(path)}
    known = set(known_entities)
    unknown = sorted({incident.entity for incident in incidents} - known)
    if unknown:
        raise ConfigurationError(
            f"truth: {path} names {_with_hints(unknown, known)}, which no post names; correct or remove these lines"
        )
    return tuple(sorted(incidents, key=lambda incident: (incident.from_ms, incident)))


def _incident(row: dict[str, object], where: str) -> Incident:
    at = f"truth: {where}"
    entity, kind = (text_field(row, name, at) for name in ("entity", "kind"))
    from_ms, to_ms = (_time_ms(row, name, at) for name in ("from_ms", "to_ms"))
    if to_ms <= from_ms:
        raise ConfigurationError(f"{at}: to_ms = {to_ms} is not after from_ms = {from_ms}; write when it was over")
    return Incident(entity, kind, from_ms, to_ms)


def _time_ms(row: dict[str, object], name: str, at: str) -> int:
    fix = "write epoch milliseconds of 2000 to 2100"
    if name not in row:
        raise ConfigurationError(f"{at}: field {name!r} is missing; {fix}")
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int) or not EARLIEST_MS <= value < LATEST_MS:
        raise ConfigurationError(f"{at}: {name} = {value!r:.{SHOWN_CHARS}} is no such time; {fix}")
    return value


def _with_hints(unknown: list[str], known: set[str]) -> str:
    shown = []
    for name in unknown[:5]:
        close = get_close_matches(name, known, n=1)
        shown.append(f"{name!r} (did you mean {close[0]!r}?)" if close else repr(name))
    more = len(unknown) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def price_incidents(prices: Prices, entities: Iterable[str]) -> tuple[Incident, ...]:
    """Return the abnormal losses (z < -3) of these entities; those at most three sessions apart are one incident."""
    incidents: list[Incident] = []
    for entity in sorted(set(entities) & set(prices.tickers)):
        below = np.flatnonzero(prices.z[:, prices.column(entity)] < EVENT_Z)
        for first, last in _merged(below.tolist()):
            incidents.append(Incident(entity, PRICE_KIND, *prices.window_ms(first, last)))
    return tuple(sorted(incidents, key=lambda incident: (incident.from_ms, incident.entity)))


def _merged(sessions: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for session in sessions:
        if runs and session - runs[-1][1] <= MERGE_SESSIONS:
            runs[-1] = (runs[-1][0], session)
        else:
            runs.append((session, session))
    return runs


def within(incidents: Iterable[Incident], from_ms: int, to_ms: int) -> tuple[Incident, ...]:
    """Return the incidents that begin in [from_ms, to_ms)."""
    return tuple(incident for incident in incidents if from_ms <= incident.from_ms < to_ms)


def begun_before(incidents: Iterable[Incident], from_ms: int, grace_ms: int) -> tuple[Incident, ...]:
    """Return the incidents that began before ``from_ms`` and that an alert behind it may still be about."""
    return tuple(incident for incident in incidents if incident.from_ms < from_ms < incident.to_ms + grace_ms)
