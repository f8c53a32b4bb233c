from pipeline.core.detector_config import DetectorConfig
from pipeline.jobs.detector import detector_config
from pipeline.settings import TrendSettings


def test_where_users_set_nothing_the_detector_is_the_shipped_one() -> None:
    """Settings lie below the core, so they write its defaults down a second time."""
    assert detector_config(TrendSettings()) == DetectorConfig()
