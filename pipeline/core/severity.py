"""How bad: the tail and the magnitude together, never the tail alone."""

from pipeline.core.detect import Assessment, LaneView
from pipeline.core.detector_config import DetectorConfig
from pipeline.events import Severity


def severity_of(moment: Assessment, view: LaneView, config: DetectorConfig) -> Severity:
    """Return the severity of what a lane sees: without firm support never more than information, while young than a warning."""
    rules, seen = config.lifecycle, view.reference
    shift = seen.negative / seen.effective - moment.expected.share if seen.effective > 0 else 0.0
    if not view.firm:
        return Severity.INFO
    large = seen.negative >= rules.critical_mass and shift >= rules.critical_share_shift
    if large and not moment.cold and view.score >= rules.critical_factor * moment.threshold:
        return Severity.CRITICAL
    return Severity.WARNING if view.score >= rules.warning_factor * moment.threshold else Severity.INFO
