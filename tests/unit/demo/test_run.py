"""The demo end to end, in process, with the fake encoder: what it promises is checked from the files it writes."""

import json
import struct
import threading
from base64 import b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from pipeline.demo.frames import Frame
from pipeline.demo.inputs import BAD_RECORDS, synthetic, synthetic_config
from pipeline.demo.planted import judge
from pipeline.demo.run import TURN_RECORDS, Demo, Summary
from pipeline.demo.tally import Tally
from pipeline.events import Alert
from pipeline.inprocess import Incoming
from pipeline.settings import Settings
from producers.synthetic import truth
from workers.fake_encoder import FakeEncoder
from workers.rules import system_clock

pytestmark = pytest.mark.slow
SEED = 7
SECRET = "whsec_" + b64encode(bytes(range(24))).decode()


class Frames:
    """A view that keeps what it was shown."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def show(self, frame: Frame, tally: Tally) -> None:
        assert tally.event_time_ms >= 0
        self.frames.append(frame)


def run(out: Path, records: Iterable[Incoming], view: Frames | None = None) -> tuple[Demo, Summary]:
    demo = Demo(FakeEncoder(), Settings(), system_clock(), SECRET)
    return demo, demo.run(records, view or Frames(), out)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Demo, Summary, Frames]:
    out, view = tmp_path_factory.mktemp("demo"), Frames()
    return out, *run(out, synthetic(SEED), view), view


def test_everything_is_accounted_for_and_every_webhook_verified(finished: tuple[Path, Demo, Summary, Frames]) -> None:
    out, demo, summary, _ = finished
    written = json.loads((out / "summary.json").read_text())
    assert list(written)[:9] == [
        "accepted",
        "scored",
        "dead_letters",
        "in_flight",
        "profiles",
        "alerts",
        "webhooks_sent",
        "webhooks_verified",
        "seconds",
    ]
    assert written["accepted"] == sum(1 for _ in synthetic(SEED))
    assert written["dead_letters"] == len(BAD_RECORDS)
    assert (written["scored"], written["in_flight"]) == (written["accepted"] - len(BAD_RECORDS), 0)
    assert written["alerts"] == written["webhooks_sent"] == written["webhooks_verified"] == len(demo.alerts) > 0
    assert written["profiles"] > 100
    assert written["complete"]
    assert summary.is_good()


def test_alerts_file_holds_every_step(finished: tuple[Path, Demo, Summary, Frames]) -> None:
    out, demo, _, _ = finished
    lines = (out / "alerts.jsonl").read_bytes().splitlines()
    assert [Alert.model_validate_json(line) for line in lines] == demo.alerts


def test_the_planted_spikes_are_found_and_the_flood_is_not_taken_for_a_mood(
    finished: tuple[Path, Demo, Summary, Frames],
) -> None:
    findings = judge(truth(synthetic_config(SEED)), finished[1].alerts)
    assert [finding.planted.kind for finding in findings].count("negative_spike") == 2
    assert all(finding.good for finding in findings)
    assert {alert.entity for alert in finished[1].alerts} == {finding.planted.entity for finding in findings}


def test_there_is_a_picture_for_every_alerted_entity(finished: tuple[Path, Demo, Summary, Frames]) -> None:
    out, demo, summary, _ = finished
    assert set(summary.pictures) == {f"{alert.entity}.png" for alert in demo.alerts}
    for name in summary.pictures:
        image = (out / "pictures" / name).read_bytes()
        assert image.startswith(b"\x89PNG\r\n\x1a\n")
        assert struct.unpack(">II", image[16:24]) == (1210, 825)
        assert 20_000 < len(image) < 500_000


def test_the_view_sees_records_rates_profiles_and_webhooks(finished: tuple[Path, Demo, Summary, Frames]) -> None:
    frames = finished[3].frames
    assert len(frames) > 10
    assert all(frame.accounting.holds() for frame in frames)
    assert any(mover.turned > 0.05 and mover.events > 1 for frame in frames for mover in frame.movers)
    assert len(frames[-1].webhooks) == finished[2].webhooks_verified


def test_one_seed_gives_the_same_alerts(finished: tuple[Path, Demo, Summary, Frames], tmp_path: Path) -> None:
    run(tmp_path, synthetic(SEED))
    assert (tmp_path / "alerts.jsonl").read_bytes() == (finished[0] / "alerts.jsonl").read_bytes()


def test_stopping_early_gives_a_partial_summary_that_holds(tmp_path: Path) -> None:
    demo = Demo(FakeEncoder(), Settings(), system_clock(), SECRET)

    def records() -> Iterator[Incoming]:
        for number, record in enumerate(synthetic(SEED)):
            if number == 500:
                demo.stop.set()
            yield record

    summary = demo.run(records(), Frames(), tmp_path)
    assert not summary.complete
    assert summary.accepted == 500 // TURN_RECORDS * TURN_RECORDS
    assert summary.is_good()
    assert json.loads((tmp_path / "summary.json").read_text())["accepted"] == summary.accepted


def test_a_second_run_leaves_no_pictures_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "OLD.png").write_bytes(b"old")
    run(tmp_path, [])
    assert list((tmp_path / "pictures").iterdir()) == []
    assert (tmp_path / "alerts.jsonl").read_bytes() == b""


def test_posts_behind_the_allowed_lateness_are_counted_and_bad_records_named(tmp_path: Path) -> None:
    posts = [incoming for incoming in synthetic(SEED) if incoming.topic == "posts" and incoming.value not in BAD_RECORDS][:300]
    demo, summary = run(tmp_path, [*posts[-100:], *posts[:100], Incoming("posts", b"k", b"no json", posts[0].timestamp_ms)])
    assert 0 < summary.late == json.loads((tmp_path / "summary.json").read_text())["late"]
    assert [letter.payload for letter in demo.dead_letters] == [b"no json"]


@pytest.mark.parametrize(("field", "value"), [("scored", 9), ("webhooks_verified", 2), ("webhooks_sent", 2), ("in_flight", 1)])
def test_a_summary_that_does_not_add_up_is_not_good(field: str, value: int) -> None:
    numbers = {"accepted": 10, "scored": 8, "dead_letters": 2, "in_flight": 0, "profiles": 1, "alerts": 3}
    more = {"webhooks_sent": 3, "webhooks_verified": 3, "refused": 0, "late": 0, "incidents": 1}
    good = Summary(**numbers, **more, seconds=1.0, complete=True, pictures=())
    assert good.is_good()
    assert not Summary(**(numbers | more | {field: value}), seconds=1.0, complete=True, pictures=()).is_good()


def test_no_thread_is_left_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    run(tmp_path, [])
    left = {thread for thread in set(threading.enumerate()) - before if thread.is_alive()}
    assert not [thread for thread in left if not thread.name.startswith("device")]
