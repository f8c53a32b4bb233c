"""Two runs side by side: which alerts were gained, lost, or moved in time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.adapters.json_lines import read_lines
from pipeline.backtest.detections import Detection, detections
from pipeline.errors import ConfigurationError
from pipeline.events import Alert, Rule
from pipeline.times import DAY_MS, MINUTE_MS

ALERTS = "alerts.jsonl"
SAME_WITHIN_MS = DAY_MS  # the cooldown: within it a rule tells of one incident only


@dataclass(frozen=True)
class Comparison:
    """Alerts of B against A. ``moved`` pairs (in A, in B) tell of the same incident at another time."""

    gained: tuple[Detection, ...]
    lost: tuple[Detection, ...]
    moved: tuple[tuple[Detection, Detection], ...]
    same: int

    def summary(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "same": self.same,
            "gained": [_shown(detection) for detection in self.gained],
            "lost": [_shown(detection) for detection in self.lost],
            "moved": [_shown(b) | {"moved_min": (b.at_ms - a.at_ms) / MINUTE_MS} for a, b in self.moved],
        }


def _shown(detection: Detection) -> dict[str, Any]:
    alert = detection.alert
    return {"entity": alert.entity, "rule": alert.rule.value, "event_time_ms": alert.event_time_ms, "score": alert.score}


def read_alerts(run: Path) -> list[Alert]:
    """Return the alert records of a run: a folder with alerts.jsonl, or such a file."""
    path = run / ALERTS if run.is_dir() else run
    return [_parse(line, path, number) for number, line in read_lines(path) if line.strip()]


def _parse(line: bytes, path: Path, number: int) -> Alert:
    try:
        return Alert.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the line"
        fix = "give the folder of a run, or its alerts.jsonl"
        raise ConfigurationError(f"{path} line {number} is not an alert: {where}: {first['msg']}; {fix}") from None


def compare(before: Iterable[Alert], after: Iterable[Alert]) -> Comparison:
    """Return what changed, pairing alerts of the same entity and rule that opened within a day, nearest first."""
    a, b = (detections(alerts, frozenset(Rule)) for alerts in (before, after))
    pairs = _pairs(a, b)
    of_a, of_b = {x for x, _ in pairs}, {y for _, y in pairs}
    moved = tuple((a[x], b[y]) for x, y in sorted(pairs) if a[x].at_ms != b[y].at_ms)
    return Comparison(
        gained=tuple(d for y, d in enumerate(b) if y not in of_b),
        lost=tuple(d for x, d in enumerate(a) if x not in of_a),
        moved=moved,
        same=len(pairs) - len(moved),
    )


def _pairs(a: Sequence[Detection], b: Sequence[Detection]) -> list[tuple[int, int]]:
    distances = sorted(
        (abs(x.at_ms - y.at_ms), i, j)
        for i, x in enumerate(a)
        for j, y in enumerate(b)
        if x.alert.entity == y.alert.entity and x.alert.rule == y.alert.rule and abs(x.at_ms - y.at_ms) < SAME_WITHIN_MS
    )
    taken_a: set[int] = set()
    taken_b: set[int] = set()
    pairs = []
    for _, i, j in distances:
        if i not in taken_a and j not in taken_b:
            taken_a.add(i)
            taken_b.add(j)
            pairs.append((i, j))
    return pairs
