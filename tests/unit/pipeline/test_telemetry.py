import json
import logging
import warnings

import pytest
import structlog
from prometheus_client import generate_latest

from pipeline.telemetry import COUNTERS, GAUGES, HISTOGRAMS, Metrics, setup_logging


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


def test_logs_are_json_also_those_of_libraries(logging_restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging("json", "INFO")
    structlog.get_logger().info("worker_started", replica=0)
    logging.getLogger("kafka.client").info("chatter")
    logging.getLogger("kafka.net.selector").warning("ran for 0.228s (>0.100s threshold)")
    logging.getLogger("kafka.client").warning("%s is gone", "node 1")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old option", UserWarning, stacklevel=1)
    try:
        raise ValueError("broken 值")
    except ValueError:
        logging.getLogger("kafka.net").exception("unexpected")
    ours, library, warned, failed = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (ours["event"], ours["level"], ours["replica"]) == ("worker_started", "info", 0)
    assert (library["event"], library["level"], library["logger"]) == ("node 1 is gone", "warning", "kafka.client")
    assert "old option" in warned["event"]
    assert "broken 值" in failed["exception"]
