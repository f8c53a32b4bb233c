"""A grid of detector settings: read, checked as a whole before anything runs, and turned into configurations.

A grid is a YAML mapping from the dotted name of a number of ``DetectorConfig`` to a list of values.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from itertools import product
from math import isfinite, prod
from pathlib import Path
from typing import Any

from pipeline.adapters.yaml_text import read_yaml
from pipeline.core.detector_config import DetectorConfig
from pipeline.errors import ConfigurationError

MOST_POINTS = 10_000
PRIOR = "prior."
NOT_FITTED = ("prior.strength_days",)
DIVISORS = ("half_life_ms", "own_rate_half_life_ms", "own_rate_strength_ms", "share_strength")
COUNTED = ("cluster_capacity", "posts_per_author")  # with none of them no post counts

Point = dict[str, float | int]


def read_grid(path: Path, config: DetectorConfig, fits: bool = False) -> dict[str, list[float | int]]:
    """Return the checked grid of a file; ``fits``: the training span teaches each point its prior."""
    return check_grid(read_yaml(path), config, fits)


def check_grid(document: Any, config: DetectorConfig, fits: bool = False) -> dict[str, list[float | int]]:
    """Return the grid, or raise ConfigurationError: unknown names, empty or wrong values, too many points.

    ``fits``: what a fit puts its own numbers in place of is refused too.
    """
    if not isinstance(document, Mapping) or not document:
        raise ConfigurationError(
            "grid: expected a mapping from setting to a list of values, for example half_life_ms: [604800000]"
        )
    known = dict(numbers(config))
    for name, values in document.items():
        _check_name(str(name), known)
        if fits and str(name).startswith(PRIOR) and name not in NOT_FITTED:
            raise ConfigurationError(f"grid: {name} is what the training span teaches each point; leave it out, or say --no-fit")
        _check_values(str(name), values, known[str(name)])
    grid = {str(name): list(values) for name, values in document.items()}
    count = prod(len(values) for values in grid.values())
    if count > MOST_POINTS:
        raise ConfigurationError(f"grid: {count} points are more than {MOST_POINTS}; name fewer values")
    for point in points(grid):
        _check_point(point, config)
    return grid


def numbers(value: Any, prefix: str = "") -> Iterable[tuple[str, float | int]]:
    """Yield (dotted name, default) of every number that a configuration is given; elements of tuples by index."""
    if is_dataclass(value):
        for field in fields(value):
            if field.init:
                yield from numbers(getattr(value, field.name), f"{prefix}{field.name}.")
    elif isinstance(value, tuple):
        for index, element in enumerate(value):
            yield from numbers(element, f"{prefix}{index}.")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield prefix.removesuffix("."), value


def points(grid: Mapping[str, Sequence[float | int]]) -> list[Point]:
    """Return every combination of the grid's values, in the order of the names."""
    return [dict(zip(grid, combination, strict=True)) for combination in product(*grid.values())]


def configured(config: DetectorConfig, point: Mapping[str, float | int]) -> DetectorConfig:
    """Return the configuration with the point's values in place."""
    for name, value in point.items():
        config = _with(config, name.split("."), value)
    return config


def _with(value: Any, path: Sequence[str], new: float | int) -> Any:
    if not path:
        return new
    if isinstance(value, tuple):
        at = int(path[0])
        return (*value[:at], _with(value[at], path[1:], new), *value[at + 1 :])
    return replace(value, **{path[0]: _with(getattr(value, path[0]), path[1:], new)})


def _check_name(name: str, known: Mapping[str, float | int]) -> None:
    if name not in known:
        close = get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"settings are {', '.join(list(known)[:12])}, ..."
        raise ConfigurationError(f"grid: {name} is no number of the detector's configuration; {hint}")


def _check_values(name: str, values: Any, default: float | int) -> None:
    if not isinstance(values, list) or not values:
        raise ConfigurationError(f"grid: {name} = {values!r}; give a list with at least one value")
    for value in values:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        if not is_number or (isinstance(default, int) and not isinstance(value, int)):
            wanted = "whole numbers" if isinstance(default, int) else "numbers"
            raise ConfigurationError(f"grid: {name} holds {value!r}; expected {wanted}{_yaml_hint(value)}")
        if value < 0:
            raise ConfigurationError(f"grid: {name} holds {value!r}; no setting of the detector is negative")
    if len(set(values)) < len(values):
        raise ConfigurationError(f"grid: {name} holds a value twice; each point is run once")


def _yaml_hint(value: Any) -> str:
    """Say how YAML wants a number that it took for text: with a point and a sign in the exponent."""
    written = re.fullmatch(r"([+-]?\d+)(\.\d*)?e([+-]?)(\d+)", value, re.IGNORECASE) if isinstance(value, str) else None
    if written is None:
        return ""
    whole, fraction, sign, exponent = written.groups()
    return f"; YAML takes it for text: write {whole}{fraction or '.0'}e{sign or '+'}{exponent}"


def _check_point(point: Point, config: DetectorConfig) -> None:
    """Refuse what no detector can be: windows out of order, a rate outside (0, 1], a divisor of nothing, no memory."""
    chosen = configured(config, point)
    shown = ", ".join(f"{name}={value}" for name, value in point.items())
    if not 0 < chosen.false_alerts_per_entity_day <= 1:
        raise ConfigurationError(f"grid: {shown}: false_alerts_per_entity_day must lie in (0, 1]")
    for name in (*DIVISORS, *COUNTED):
        if getattr(chosen, name) <= 0:
            raise ConfigurationError(f"grid: {shown}: {name} must be above 0")
    if chosen.forget_after_ms < chosen.longest_ms:
        raise ConfigurationError(f"grid: {shown}: forget_after_ms is less than the longest window, {chosen.longest_ms}")
    for lane in chosen.lanes:
        if list(lane.windows_ms) != sorted(set(lane.windows_ms)) or lane.windows_ms[0] <= 0:
            raise ConfigurationError(f"grid: {shown}: windows_ms {lane.windows_ms} of {lane.rule} must ascend")
        if lane.reference_ms not in lane.windows_ms:
            raise ConfigurationError(f"grid: {shown}: reference_ms of {lane.rule} must be one of its windows {lane.windows_ms}")
