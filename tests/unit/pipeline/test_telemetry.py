import pytest
from prometheus_client import generate_latest

from pipeline.telemetry import COUNTERS, GAUGES, HISTOGRAMS, Metrics


def test_what_is_counted_is_exported() -> None:
    metrics = Metrics()
    metrics.count("dead_letters_total", 3, topic="posts", reason="invalid_json")
    metrics.set("in_flight_records", 7)
    text = generate_latest(metrics.registry).decode()
    assert 'groundswell_dead_letters_total{reason="invalid_json",topic="posts"} 3.0' in text
    assert "groundswell_in_flight_records 7.0" in text


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        Metrics().count("acepted_total")


def test_every_metric_has_a_meaning() -> None:
    tables = COUNTERS | GAUGES | HISTOGRAMS
    assert all(len(meaning) > 10 for meaning, _ in tables.values())
