"""How bad: the tail and the magnitude together, never the tail alone."""

from pipeline.core.detect import Assessment
from pipeline.core.detector_config import DetectorConfig
from pipeline.events import Severity


def severity_of(moment: Assessment, config: DetectorConfig) -> Severity:
    """Return the severity of a moment; an entity in its cold start is never more than a warning."""
    rules, seen = config.lifecycle, moment.leading.reference
    shift = seen.negative / seen.effective - moment.expected.share if seen.effective > 0 else 0.0
    large = seen.negative >= rules.critical_mass and shift >= rules.critical_share_shift
    if large and not moment.cold and moment.score >= rules.critical_factor * moment.threshold:
        return Severity.CRITICAL
    if moment.score >= rules.warning_factor * moment.threshold:
        return Severity.WARNING
    return Severity.INFO
