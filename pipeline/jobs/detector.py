"""The detector's configuration as the settings want it: one mapping for every host."""

from dataclasses import replace

from pipeline.core.detector_config import DetectorConfig
from pipeline.settings import TrendSettings


def detector_config(trends: TrendSettings) -> DetectorConfig:
    """Return the shipped configuration with what users set."""
    shipped = DetectorConfig()
    return replace(
        shipped,
        false_alerts_per_entity_day=trends.false_alerts_per_entity_day,
        allowed_lateness_ms=trends.allowed_lateness_ms,
        out_of_orderness_ms=trends.out_of_orderness_ms,
        lifecycle=replace(shipped.lifecycle, cooldown_ms=trends.cooldown_ms),
        market=replace(shipped.market, groups=trends.market),
    )
