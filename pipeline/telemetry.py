"""Every metric name with its one-line meaning, and the logging set-up.

A process makes one ``Metrics`` and passes it down; a name that is not in the table is an error at the first use.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pipeline.log_files import cut

COUNTERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "accepted_total": ("records taken from the input topics", ("topic",)),
    "scored_total": ("records whose every effect is durable", ("topic",)),
    "dead_letters_total": ("records that could not be used", ("topic", "reason")),
    "texts_total": ("texts that were asked for", ()),
    "texts_encoded_total": ("texts that went through the model", ()),
    "tokens_total": ("tokens that went through the model, without padding", ()),
    "padding_tokens_total": ("tokens of padding that went through the model", ()),
    "cache_hits_total": ("texts answered from the result cache", ()),
    "fenced_writes_total": ("profile updates refused because they were already applied", ()),
    "stalls_total": ("times a partition with lag delivered nothing and was sought again", ()),
    "deliveries_total": ("webhook attempts", ("outcome",)),
    "inhibited_total": ("alert steps held back from an endpoint", ("reason",)),
    "silenced_total": ("alert steps held back from an endpoint by a silence", ()),
    "grouped_total": ("alert steps that arrived in a webhook about several", ()),
    "released_total": ("alert steps sent after they had been held back", ()),
    "late_posts_total": ("posts behind the allowed lateness", ()),
    "alerts_total": ("alert records", ("rule", "status")),
}
GAUGES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "lag_records": ("records in the input topics that are not yet processed", ("topic",)),
    "in_flight_records": ("records taken but not yet committed", ()),
    "batch_fill_ratio": ("tokens of the last batch over the token budget", ()),
    "oldest_in_flight_seconds": ("age of the oldest record in flight", ()),
    "undelivered_alerts": ("alerts waiting for a successful delivery", ()),
    "inhibited_alerts": ("alerts held back while the alert of their market speaks for them", ()),
    "silenced_alerts": ("alerts held back by a silence", ()),
}
HISTOGRAMS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "stage_seconds": ("time of one stage of the loop", ("stage",)),
    "delivery_seconds": ("time of one webhook attempt", ()),
    "event_to_profile_seconds": ("from the event's time to its durable effect; meaningless while history is replayed", ()),
}
NAMESPACE: Final = "groundswell"


class Metrics:
    """The metrics of one process, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counters = {
            name: Counter(name.removesuffix("_total"), help_, labels, namespace=NAMESPACE, registry=self.registry)
            for name, (help_, labels) in COUNTERS.items()
        }
        self._gauges = {
            name: Gauge(name, help_, labels, namespace=NAMESPACE, registry=self.registry)
            for name, (help_, labels) in GAUGES.items()
        }
        self._histograms = {
            name: Histogram(name, help_, labels, namespace=NAMESPACE, registry=self.registry)
            for name, (help_, labels) in HISTOGRAMS.items()
        }

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter of the table."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge of the table."""
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Record a value in a histogram of the table."""
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(value)


def setup_logging(log_format: str, level: str, appended_to: Path | None = None) -> None:
    """Send structured logs to stderr: JSON, one event a line, or coloured text where a person looks on.

    What libraries log or warn of (from WARNING on) comes in the same form, under their name.
    Where stderr is ``appended_to`` a file, that is cut before it grows too long (``pipeline.log_files``).
    """
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False) if as_json else structlog.dev.ConsoleRenderer()
    )
    shared = [*_SHARED, *([] if appended_to is None else [_cutting(appended_to)])]
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_of_libraries(shared, renderer))
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    logging.captureWarnings(True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)


_CHATTY: Final = ("kafka.net.selector",)  # warns of every 100 ms that a busy machine takes from it
_SHARED: Final[list[structlog.typing.Processor]] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def _cutting(log: Path) -> structlog.typing.Processor:
    """Return what looks at the length of the log before each line."""

    def look(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        cut(log)
        return event

    return look


def _of_libraries(shared: Sequence[structlog.typing.Processor], renderer: structlog.typing.Processor) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
