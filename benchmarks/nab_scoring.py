"""The scoring of the Numenta Anomaly Benchmark, written from its description (Lavin and Ahmad, ICMLA 2015).

A detector's alerts are rows of a series. The first 15 % of the rows (at most 750) are probation and count for nothing.
In a labelled window only the alert that earns most counts: ``s(y) = 2 / (1 + e^(5y)) - 1`` with ``y`` from -1 at the
window's left edge to 0 at its right edge, scaled so that the left edge earns ``tp``. A window without an alert costs
``fn``. An alert outside costs ``fp * s(y)``, where ``y`` is its distance behind the last window in window widths (-1 from
three widths on, and before the first window). The sum is normalised between a detector that never speaks (0) and one
that hits every left edge and nothing else (100).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.times import DAY_MS, MINUTE_MS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PROBATION_SHARE = 0.15
PROBATION_MAX_ROWS = 750
FAR = 3.0  # widths behind a window from which an alert costs its full price
PROMPT_MS = (-15 * MINUTE_MS, 30 * MINUTE_MS)
EPISODE_MS = 6 * 60 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Profile:
    """What an application pays: per window found (tp), per false alert (fp), per window missed (fn)."""

    name: str
    tp: float
    fp: float
    fn: float


STANDARD = Profile("standard", 1.0, 0.11, 1.0)
LOW_FP = Profile("low_fp", 1.0, 0.22, 1.0)
LOW_FN = Profile("low_fn", 1.0, 0.11, 2.0)
PROFILES = (STANDARD, LOW_FP, LOW_FN)


def scaled_sigmoid(position: Floats | float) -> Floats:
    """Return what an alert at ``position`` is worth: 0.9866 at -1, 0 at 0, -1 from 3 on."""
    y = np.asarray(position, dtype=np.float64)
    return np.where(y >= FAR, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(y, FAR))) - 1.0)


@dataclass(frozen=True)
class Series:
    """One labelled series. times_ms: (n,). windows: (first, last) rows, both inside, ascending, with one label or more each."""

    entity: str
    times_ms: Ints
    windows: tuple[tuple[int, int], ...]
    labels_ms: tuple[int, ...]

    @property
    def probation_rows(self) -> int:
        """Return how many rows at the start are not scored."""
        return min(int(PROBATION_SHARE * len(self.times_ms)), PROBATION_MAX_ROWS)

    @property
    def scored_days(self) -> float:
        """Return the days behind probation that the series covers; those of a single row are not known, so 0."""
        if len(self.times_ms) < 2:
            return 0.0
        rows = len(self.times_ms) - self.probation_rows
        return rows * float(np.median(np.diff(self.times_ms))) / DAY_MS

    def is_prompt(self, row: int) -> bool:
        """Return whether an alert at this row comes between 15 minutes before and 30 minutes after a label."""
        return any(PROMPT_MS[0] <= self.times_ms[row] - label <= PROMPT_MS[1] for label in self.labels_ms)

    @cached_property
    def window_of_row(self) -> Ints:
        """Return the index of the window each row lies in, or -1; shape (n,)."""
        index = np.full(len(self.times_ms), -1, dtype=np.int64)
        for number, (first, last) in enumerate(self.windows):
            index[first : last + 1] = number
        return index

    @cached_property
    def worth(self) -> Floats:
        """Return what an alert at each row earns (inside, at most 1) or costs (outside), before the profile's weights."""
        rows = np.arange(len(self.times_ms), dtype=np.float64)
        worth = np.full(len(rows), -1.0)
        for number, (first, last) in enumerate(self.windows):
            width = last - first + 1
            inside = slice(first, last + 1)
            worth[inside] = scaled_sigmoid(-(last - rows[inside] + 1) / width) / scaled_sigmoid(-1.0)
            end = self.windows[number + 1][0] if number + 1 < len(self.windows) else len(rows)
            worth[last + 1 : end] = scaled_sigmoid((rows[last + 1 : end] - last) / max(width - 1, 1))
        return worth


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the alerts of one detector on one or more series came to, before normalisation."""

    gained: float
    paid: float
    windows: int
    found: int
    prompt: int
    false_alerts: int
    days: float

    def score(self, profile: Profile) -> float:
        """Return the normalised score: 0 for silence, 100 for perfection."""
        missed = self.windows - self.found
        raw = profile.tp * self.gained + profile.fp * self.paid - profile.fn * missed
        null, perfect = -profile.fn * self.windows, profile.tp * self.windows
        return 100.0 * (raw - null) / (perfect - null) if self.windows else 0.0

    @property
    def false_alerts_per_day(self) -> float:
        """Return false alerts (those within six hours count as one) per day of series."""
        return self.false_alerts / self.days if self.days else 0.0


def judge(series: Series, alert_rows: Iterable[int]) -> Outcome:
    """Return what alerts at these rows come to; rows inside probation are left out."""
    rows = np.array(sorted(row for row in alert_rows if row >= series.probation_rows), dtype=np.int64)
    window = series.window_of_row[rows]
    hits = [rows[window == number] for number in range(len(series.windows))]
    scorable = [number for number, (_, last) in enumerate(series.windows) if last >= series.probation_rows]
    found = [number for number in scorable if len(hits[number])]
    outside = rows[window < 0]
    return Outcome(
        gained=float(sum(series.worth[hits[number]].max() for number in found)),
        paid=float(series.worth[outside].sum()),
        windows=len(scorable),
        found=len(found),
        prompt=sum(series.is_prompt(int(hits[number][0])) for number in found),
        false_alerts=_episodes(series.times_ms[outside]),
        days=series.scored_days,
    )


def _episodes(times_ms: Ints) -> int:
    return int(len(times_ms) > 0) + int((np.diff(times_ms) > EPISODE_MS).sum())


def total(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the sum over series: scores are of the corpus, not means of series."""
    return Outcome(
        gained=sum(outcome.gained for outcome in outcomes),
        paid=sum(outcome.paid for outcome in outcomes),
        windows=sum(outcome.windows for outcome in outcomes),
        found=sum(outcome.found for outcome in outcomes),
        prompt=sum(outcome.prompt for outcome in outcomes),
        false_alerts=sum(outcome.false_alerts for outcome in outcomes),
        days=sum(outcome.days for outcome in outcomes),
    )


def crossings(times_ms: Ints, scores: Floats, threshold: float, cooldown_ms: int) -> list[int]:
    """Return the rows where the score reaches the threshold and no alert spoke within the cooldown before."""
    candidates = np.flatnonzero(scores >= threshold)
    chosen: list[int] = []
    at = 0
    while at < len(candidates):
        row = int(candidates[at])
        chosen.append(row)
        quiet_until = times_ms[row] + cooldown_ms
        at = max(at + 1, int(np.searchsorted(times_ms[candidates], quiet_until, side="left")))
    return chosen
