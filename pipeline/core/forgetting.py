"""Entities that nobody speaks of any more: after a year of silence one begins anew, so nothing of it need be kept.

That it begins anew is decided pane by pane in event time, like everything else. When its state goes, after the same silence and a
margin, is for the host's timers: nobody can tell whether it went before the next pane or with it.
"""

from typing import Final
from zlib import crc32

from pipeline.core.detector_config import DetectorConfig
from pipeline.core.trends import PANE_MS
from pipeline.times import DAY_MS

MARGIN_MS: Final = DAY_MS  # how far behind the watermark of all entities the next post may be without missing what went


def begins_anew(newest_ms: int, start_ms: int, config: DetectorConfig) -> bool:
    """Return whether a pane comes after so long a silence that what was before it tells nothing. Both are starts of panes."""
    return start_ms - newest_ms > config.forget_after_ms


def may_go(newest_ms: int, watermark_ms: int, config: DetectorConfig) -> bool:
    """Return whether any pane after the newest one will begin anew."""
    return begins_anew(newest_ms + MARGIN_MS, watermark_ms, config)


def look_ms(entity: str, start_ms: int, config: DetectorConfig) -> int:
    """Return when to look whether a pane was the last for long.

    Each entity has such a moment of its own every quarter of that span: so few are pending at once, and not all entities are
    looked at together.
    """
    every_ms = config.forget_after_ms // 4
    earliest_ms = start_ms + config.forget_after_ms + MARGIN_MS + PANE_MS
    return earliest_ms + (crc32(entity.encode("utf-8", "replace")) * PANE_MS - earliest_ms) % every_ms
