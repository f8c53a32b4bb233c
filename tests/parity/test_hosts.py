"""The parity test: Flink, this process and replay say the same of the same posts, through kills, rescaling and shuffles."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from pipeline import commands
from pipeline.core.corrections import settled_alerts, settled_trends
from pipeline.core.panes import pane_start
from pipeline.core.trends import Step
from pipeline.events import Alert, AlertStatus, Rule, ScoredPost, Trend
from pipeline.jobs.trends import make_host
from pipeline.jobs.trends_job import TrendsJob
from tests.parity.flink_lab import (
    Lab,
    kafka_of,
    live_job,
    settled,
    started_lab,
    wait_for_the_same,
    wait_for_told,
    wait_until_at_work,
)
from tests.parity.flink_runs import Told, publish, told_in_process
from tests.unit.core.streams import DAY_MS, HOUR_MS, MINUTE_MS, START_MS, background, delayed, flood, in_order, market_drop, shift

pytestmark = [pytest.mark.integration, pytest.mark.flink, pytest.mark.slow, pytest.mark.timeout(900)]

SPIKE_MS = START_MS + 4 * DAY_MS + 7 * HOUR_MS
MEMBERS = tuple(f"member-{n}" for n in range(8))
POSTS = in_order(
    *(background(entity, 6, 24, seed) for seed, entity in enumerate(("calm", "spike", "flooded", "other"))),
    shift("spike", SPIKE_MS, 16),
    flood("flooded", SPIKE_MS + HOUR_MS, 60),
    *(background(entity, 6, 12, 3) for entity in MEMBERS),
    market_drop(MEMBERS, SPIKE_MS + 30 * MINUTE_MS),
)
SHUFFLED_WITHIN_MS = 55 * MINUTE_MS


@pytest.fixture
def lab(cache: Path, tmp_path: Path) -> Iterator[Lab]:
    with started_lab(cache, tmp_path / "flink") as lab:
        yield lab


@pytest.fixture
def job(lab: Lab, kafka_bootstrap: str, topic_prefix: str) -> Iterator[TrendsJob]:
    """Give a job for which no partition counts as empty: the test pauses, and then brings days at once (guarantees.md)."""
    with live_job(lab, kafka_bootstrap, topic_prefix) as job:
        yield job.model_copy(update={"empty_after_ms": 3_600_000})


def test_flink_this_process_and_replay_agree_through_kills_rescaling_and_shuffles(
    lab: Lab, job: TrendsJob, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_flink = killed_and_rescaled(lab, job, shuffled(1))

    expected = settled_trends(in_flink.trends), settled_alerts(in_flink.alerts)
    assert {alert.rule for alert in in_flink.alerts} >= {Rule.NEGATIVE_SPIKE, Rule.COORDINATED_ACTIVITY, Rule.MARKET_WIDE}
    assert {alert.status for alert in expected[1].values()} == {AlertStatus.RESOLVED}
    assert any(trend.revision > 0 for trend in in_flink.trends), "the shuffle was meant to cause corrections"
    for seed, restart_every in ((2, 97), (3, 1_000)):
        assert settled(restarted_here(job, shuffled(seed), restart_every)) == expected
    monkeypatch.setenv("GROUNDSWELL_KAFKA__BOOTSTRAP", job.bootstrap)
    monkeypatch.setenv("GROUNDSWELL_KAFKA__TOPIC_PREFIX", topic_prefix)
    from_topic = replayed("topic:scored", tmp_path / "topic")
    recorded = tmp_path / "posts.jsonl"
    recorded.write_bytes(b"".join(post.to_json() + b"\n" for post in POSTS))
    assert from_topic == replayed(str(recorded), tmp_path / "file")
    assert from_topic == as_lines(told_in_process(job, POSTS))
    trends, alerts = (lines.splitlines() for lines in from_topic)
    assert settled_trends([Trend.model_validate_json(line) for line in trends]) == expected[0]
    assert settled_alerts([Alert.model_validate_json(line) for line in alerts]) == expected[1]


def shuffled(seed: int) -> list[ScoredPost]:
    """Return the posts each up to 55 minutes late: behind the watermark, within the allowed lateness."""
    return delayed(POSTS, SHUFFLED_WITHIN_MS, seed)


def killed_and_rescaled(lab: Lab, job: TrendsJob, posts: list[ScoredPost]) -> Told:
    """Run the job with 1, 2 and 1 tasks before, in and after the spike; kill -9 its task manager in the first two.

    It dies in the middle of its work: some of what it told stands in no checkpoint.
    """
    cuts = [next(at for at, post in enumerate(posts) if post.event_time_ms > SPIKE_MS + hours * HOUR_MS) for hours in (-24, 1)]
    for parallelism, part in ((1, posts[: cuts[0]]), (2, posts[cuts[0] : cuts[1]])):
        job_id = lab.run(job, parallelism)
        begun = part[: len(part) // 3]
        publish(kafka_of(job), job.scored, begun)
        wait_until_at_work(job, begun)
        lab.wait_for_checkpoint(job_id, after=lab.wait_for_checkpoint(job_id))
        publish(kafka_of(job), job.scored, part[len(begun) : 2 * len(part) // 3])
        lab.kill_task_manager()
        publish(kafka_of(job), job.scored, part[2 * len(part) // 3 :])
        wait_until_told(job, part)
        lab.stop(job)
    lab.run(job)
    publish(kafka_of(job), job.scored, posts[cuts[1] :])
    return wait_for_the_same(job, posts)


def wait_until_told(job: TrendsJob, posts: list[ScoredPost]) -> None:
    """Wait until the newest pane of every entity is closed, whichever way."""
    newest = {(post.entity, pane_start(post.event_time_ms)) for post in in_order(posts)}
    last = dict(sorted(newest))

    wait_for_told(job, lambda told: {(each.entity, each.window_start_ms) for each in told.trends} >= set(last.items()))


def restarted_here(job: TrendsJob, posts: Sequence[ScoredPost], restart_every: int) -> Told:
    """Return what the in-process host says, which dies and is restored from its snapshot every so many posts."""
    host, steps = make_host(job.detector), list[Step]()
    for begin in range(0, len(posts), restart_every):
        snapshot = host.snapshot()
        host = make_host(job.detector)
        host.restore(snapshot)
        steps += host.on_posts(posts[begin : begin + restart_every])
    steps.append(host.finish())
    return Told([trend for step in steps for trend in step.trends], [alert for step in steps for alert in step.alerts])


def replayed(path: str, out: Path) -> tuple[bytes, bytes]:
    """Return the trends and alerts that ``groundswell replay`` writes."""
    app = Typer()
    commands.register_all(app)
    result = CliRunner().invoke(app, ["replay", path, "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return (out / "trends.jsonl").read_bytes(), (out / "alerts.jsonl").read_bytes()


def as_lines(told: Told) -> tuple[bytes, bytes]:
    """Return trends and alerts as replay writes them."""
    trends, alerts = (b"".join(each.to_json() + b"\n" for each in found) for found in (told.trends, told.alerts))
    return trends, alerts
