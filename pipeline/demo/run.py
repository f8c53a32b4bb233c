"""One run of the demo: feed, watch, and put down what came out."""

import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pipeline.adapters.webhook import WebhookReceiver
from pipeline.demo import pictures
from pipeline.demo.frames import Frame, ProfileWatch, View
from pipeline.demo.receiver import LocalReceiver, receiving
from pipeline.demo.tally import Tally
from pipeline.events import Alert, DeadLetter, Trend
from pipeline.inprocess import Accounting, Incoming, InProcess, Turn, turns
from pipeline.settings import Settings
from workers.encoder import Encoder
from workers.rules import Clock

TURN_RECORDS: Final = 128  # about a second of work for the real encoder on one slow core
RETRY_SCHEDULE_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
WEBHOOK_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Summary:
    """What ``summary.json`` holds. ``alerts`` counts the lines of alerts.jsonl: the steps in the life of alerts.

    ``refused`` records were too large to get in; ``late`` scored posts came behind the allowed lateness, so no alert saw them.
    """

    accepted: int
    scored: int
    dead_letters: int
    in_flight: int
    profiles: int
    alerts: int
    webhooks_sent: int
    webhooks_verified: int
    seconds: float
    complete: bool
    refused: int
    late: int
    incidents: int
    pictures: tuple[str, ...]

    @property
    def accounting(self) -> Accounting:
        """Return the accounts of the input topics."""
        return Accounting(self.accepted, self.scored, self.dead_letters, self.in_flight, self.refused)

    def is_good(self) -> bool:
        """Say whether the accounting holds and the webhook of every alert was sent and verified."""
        return self.accounting.holds() and self.alerts == self.webhooks_sent == self.webhooks_verified

    def to_json(self) -> str:
        """Return the content of the file."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


class Demo:
    """The pipeline in one process with a local receiver. ``stop`` ends a run early, with a summary of what was done."""

    def __init__(self, encoder: Encoder, settings: Settings, clock: Clock, secret: str) -> None:
        self.stop = threading.Event()
        self.tally = Tally()
        self.trends: list[Trend] = []
        self.alerts: list[Alert] = []
        self.dead_letters: list[DeadLetter] = []
        self._late = 0
        self._encoder = encoder
        self._settings = _impatient(settings)
        self._clock = clock
        self._secret = secret
        self._watch = ProfileWatch()
        self._started_s = clock.monotonic_s()

    def run(self, records: Iterable[Incoming], view: View, out: Path) -> Summary:
        """Feed everything, wait for the deliveries, write the files into ``out``; return the summary."""
        self._started_s = self._clock.monotonic_s()
        with receiving(self._secret) as receiver:
            endpoint = WebhookReceiver(receiver.url, [self._secret], WEBHOOK_TIMEOUT_S)
            pipeline = InProcess(self._encoder, self._settings, [endpoint], self._clock)
            try:
                complete = self._feed(pipeline, records, receiver, view)
                self._keep(pipeline.finish())
                pipeline.await_deliveries(threading.Event())
            finally:
                pipeline.close()
            self._show(view, pipeline, receiver)
        self.dead_letters = pipeline.dead_letters()
        paths = write_files(out, self.trends, self.alerts)
        seconds = self._clock.monotonic_s() - self._started_s
        summary = self._summary(pipeline, receiver, seconds, complete, paths)
        (out / "summary.json").write_text(summary.to_json(), "utf-8")
        return summary

    def _feed(self, pipeline: InProcess, records: Iterable[Incoming], receiver: LocalReceiver, view: View) -> bool:
        for batch in turns(records, TURN_RECORDS):
            if self.stop.is_set():
                return False
            self._keep(pipeline.turn(batch))
            self._watch.note(batch, self.tally)
            self._show(view, pipeline, receiver)
        return True

    def _keep(self, turn: Turn) -> None:
        self.trends += turn.trends
        self.alerts += turn.alerts
        self._late += len(turn.late)
        self.tally.add_posts(turn.posts)
        self.tally.add_alerts(turn.alerts)

    def _show(self, view: View, pipeline: InProcess, receiver: LocalReceiver) -> None:
        seconds = self._clock.monotonic_s() - self._started_s
        movers = self._watch.movers(pipeline.store.get)
        frame = Frame(pipeline.accounting(), seconds, movers, len(pipeline.store), tuple(receiver.received))
        view.show(frame, self.tally)

    def _summary(
        self, pipeline: InProcess, receiver: LocalReceiver, seconds: float, complete: bool, paths: Sequence[Path]
    ) -> Summary:
        return Summary(
            **asdict(pipeline.accounting()),
            profiles=len(pipeline.store),
            alerts=len(self.alerts),
            webhooks_sent=pipeline.delivered(),
            webhooks_verified=receiver.verified(),
            seconds=round(seconds, 3),
            complete=complete,
            late=self._late,
            incidents=len(self.tally.alerts),
            pictures=tuple(path.name for path in paths),
        )


def write_files(out: Path, trends: Sequence[Trend], alerts: Sequence[Alert]) -> list[Path]:
    """Write alerts.jsonl and one picture per alerted entity; pictures of an earlier run are removed."""
    out.mkdir(parents=True, exist_ok=True)
    for old in (out / "pictures").glob("*.png"):
        old.unlink()
    (out / "alerts.jsonl").write_bytes(b"".join(alert.to_json() + b"\n" for alert in alerts))
    return pictures.draw_all(trends, alerts, out / "pictures")


def _impatient(settings: Settings) -> Settings:
    """Return the settings with waits that suit a receiver in the same process; it is sent every step, alone and at once."""
    changed = {"retry_schedule_s": RETRY_SCHEDULE_S, "timeout_s": WEBHOOK_TIMEOUT_S, "market_holds_s": 0.0, "group_by": None}
    notify = settings.notify.model_copy(update=changed)
    return settings.model_copy(update={"notify": notify})
