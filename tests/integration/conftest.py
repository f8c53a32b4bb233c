"""What the tests of the trends job in Flink share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.jobs.trends_job import TrendsJob
from tests.parity.flink_lab import Lab, live_job, started_lab


@pytest.fixture(scope="module")
def lab(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A cluster of the test file's own."""
    with started_lab(cache, tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def job(lab: Lab, kafka_bootstrap: str, topic_prefix: str) -> Iterator[TrendsJob]:
    """A job on topics of its own, stopped in the end."""
    with live_job(lab, kafka_bootstrap, topic_prefix) as job:
        yield job
