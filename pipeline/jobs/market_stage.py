"""The second stage of the in-process trend host: the operator of groups, fed with the panes that the entities' operator tells."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pipeline.core.detector_config import DetectorConfig
from pipeline.core.fold import Arrival, Held, decode_held, encode_held, fold_at_once
from pipeline.core.market import make_market_operator
from pipeline.core.market_rules import group_of
from pipeline.core.pane_digest import PaneDigest
from pipeline.events import Alert
from pipeline.times import BEFORE_ALL_MS

NO_BYTES: Final = b""


class MarketStage:
    """Folds digests group by group, as the Flink job does. Lateness goes by the watermark at which a digest comes."""

    def __init__(self, config: DetectorConfig) -> None:
        self._operator = make_market_operator(config)
        self._groups = config.market.groups
        self._delay_ms = config.out_of_orderness_ms
        self._held: dict[str, Held[Any]] = {}

    def fold(self, panes: Iterable[PaneDigest], watermark_ms: int, until_ms: int) -> list[Alert]:
        """Take the panes that were told at ``watermark_ms``, decide up to ``until_ms``, and return what is to be told."""
        arrived: dict[str, list[tuple[Arrival, PaneDigest]]] = {
            group: [] for group, held in self._held.items() if _due(held, until_ms)
        }
        clock_ms = newest_before(watermark_ms, self._delay_ms)
        for pane in panes:
            arrival = Arrival(pane.start_ms, clock_ms, 0, 0, NO_BYTES)
            arrived.setdefault(group_of(pane.entity, self._groups), []).append((arrival, pane))
        return [alert for group in sorted(arrived) for alert in self._fold(group, arrived[group], until_ms)]

    def is_due(self, until_ms: int) -> bool:
        """Return whether time alone has something to decide."""
        return any(_due(held, until_ms) for held in self._held.values())

    def snapshot(self) -> dict[str, bytes]:
        """Return the encoded states by group."""
        return {group: encode_held(self._operator, held) for group, held in self._held.items()}

    def restore(self, groups: Mapping[str, bytes]) -> None:
        """Take over a snapshot in place of everything known."""
        self._held = {group: decode_held(self._operator, encoded) for group, encoded in groups.items()}

    def _fold(self, group: str, arrived: list[tuple[Arrival, PaneDigest]], until_ms: int) -> tuple[Alert, ...]:
        held = self._held.get(group)
        if held is None:
            held = self._held[group] = Held(self._operator.new_state())
        return fold_at_once(self._operator, held, arrived, until_ms, self._delay_ms).alerts


def _due(held: Held[Any], until_ms: int) -> bool:
    return bool(held.timers) and held.timers[0] <= until_ms


def newest_before(watermark_ms: int, delay_ms: int) -> int:
    """Return the newest event time that a watermark stands for; none, before there is a watermark."""
    return max(BEFORE_ALL_MS, watermark_ms + delay_ms + 1)
