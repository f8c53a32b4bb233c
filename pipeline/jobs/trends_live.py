"""The in-process trend host on live streams: for machines without Flink, and for development.

Its state is not kept: every start reads the scored posts from the beginning, decides again, and writes the same records
with the same ids, which readers know already; but not where it had decided by the wall clock and a late post came after that
(docs/guarantees.md). So it commits no offsets. Flink keeps its state; for long histories use it.
"""

from collections.abc import Callable
from threading import Event
from typing import Any, Final

from pydantic import ValidationError

from pipeline.adapters.health import Readiness
from pipeline.adapters.streams import Record, Sink, Source
from pipeline.core.fold import Arrival, pane_end_ms, quiet_at_ms
from pipeline.core.trends import Step
from pipeline.events import ScoredPost
from pipeline.jobs.scored_letters import scored_letter
from pipeline.jobs.trends import TrendHost
from pipeline.jobs.trends_job import TrendsJob
from pipeline.telemetry import Metrics
from pipeline.times import BEFORE_ALL_MS
from pipeline.topics import SCORED

MAX_RECORDS: Final = 5_000
POLL_MS: Final = 200
STUCK_AFTER_S: Final = 60.0


class LiveTrends:
    """Poll, feed, write, flush. A source that went quiet closes the last panes, as in the Flink job."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        host: TrendHost[Any],
        job: TrendsJob,
        clock_ms: Callable[[], int],
        metrics: Metrics | None = None,
    ) -> None:
        self._metrics = metrics or Metrics()
        self._source = source
        self._sink = sink
        self._host = host
        self._job = job
        self._clock_ms = clock_ms
        self._newest_ms = BEFORE_ALL_MS
        self._touched_ms = self._stepped_ms = clock_ms()

    def readiness(self) -> Readiness:
        """Return whether the scored posts are being read. Any thread may ask."""
        idle_s = (self._clock_ms() - self._stepped_ms) / 1000
        if idle_s > STUCK_AFTER_S:
            return Readiness(False, f"the scored posts were not read for {idle_s:.0f} s; Kafka does not answer")
        return Readiness(True, "the scored posts are read")

    def run(self, stop: Event) -> None:
        """Go on until ``stop``."""
        while not stop.is_set():
            self.step()

    def step(self) -> int:
        """Take what has arrived, or close what is overdue; return how many records came."""
        records = self._source.poll(MAX_RECORDS, POLL_MS)
        for record in records:
            self._take(record)
        if records:
            self._touched_ms = self._clock_ms()
        elif self._clock_ms() >= self._quiet_at_ms():
            self._write(self._host.advance(pane_end_ms(self._newest_ms)))
        self._sink.flush()
        self._metrics.count("accepted_total", len(records), topic=SCORED.name)
        self._metrics.set("lag_records", sum(self._source.lag().values()), topic=SCORED.name)
        self._stepped_ms = self._clock_ms()
        return len(records)

    def _take(self, record: Record) -> None:
        self._newest_ms = max(self._newest_ms, record.timestamp_ms)
        if not record.key:
            return
        try:
            post = ScoredPost.model_validate_json(record.value)
        except ValidationError as error:
            arrival = Arrival(record.timestamp_ms, BEFORE_ALL_MS, record.partition, record.offset, record.value)
            letter = scored_letter(self._job.scored, arrival, error)
            self._sink.write(self._job.dead_letters, self._job.scored.encode(), letter.to_json(), record.timestamp_ms)
            self._metrics.count("dead_letters_total", topic=SCORED.name, reason=letter.reason)
            return
        self._write(self._host.on_post(post))

    def _write(self, step: Step) -> None:
        for topic, found in ((self._job.trends, step.trends), (self._job.alerts, step.alerts), (self._job.late, step.late)):
            for each in found:
                self._sink.write(topic, each.entity.encode(), each.to_json(), each.event_time_ms)
        if step.late:
            self._metrics.count("late_posts_total", len(step.late))
        for alert in step.alerts:
            self._metrics.count("alerts_total", rule=alert.rule, status=alert.status)

    def _quiet_at_ms(self) -> int:
        return quiet_at_ms(self._touched_ms, self._newest_ms, self._job.detector.out_of_orderness_ms, self._job.idleness_ms)
