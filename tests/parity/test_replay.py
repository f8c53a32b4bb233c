"""Replay and live give the same bytes: whatever the batches, restarts, speed, and the order within the watermark's bound."""

import random
from pathlib import Path
from zlib import crc32

import pytest
from typer import Typer
from typer.testing import CliRunner

from pipeline import commands
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.trends import post_order
from pipeline.events import ScoredPost
from pipeline.jobs.trends import make_host
from pipeline.replay.recorded import merged
from tests.unit.core.streams import DAY_MS, START_MS, background, eventful, in_order, market_drop

CONFIG = DetectorConfig()


def command_line() -> Typer:
    app = Typer()
    commands.register_all(app)
    return app


def replayed(folder: Path, posts: list[ScoredPost], *options: str) -> tuple[bytes, bytes]:
    app = command_line()
    path = folder / "posts.jsonl"
    path.write_bytes(b"".join(post.to_json() + b"\n" for post in posts))
    result = CliRunner().invoke(app, ["replay", str(path), "--out", str(folder / "out"), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return (folder / "out" / "trends.jsonl").read_bytes(), (folder / "out" / "alerts.jsonl").read_bytes()


def live(posts: list[ScoredPost], batch: int, restart: bool) -> tuple[bytes, bytes]:
    """Feed batches to a host, which after each batch dies and is restored from its snapshot, or not."""
    trends, alerts = b"", b""
    host = make_host(CONFIG)
    for start in range(0, len(posts), batch):
        steps = list(host.on_posts(posts[start : start + batch]))
        if start + batch >= len(posts):
            steps.append(host.finish())
        trends += b"".join(trend.to_json() + b"\n" for step in steps for trend in step.trends)
        alerts += b"".join(alert.to_json() + b"\n" for step in steps for alert in step.alerts)
        if restart:
            snapshot = host.snapshot()
            host = make_host(CONFIG)
            host.restore(snapshot)
    return trends, alerts


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "restart"), [(1, False), (17, False), (101, True), (5_000, True)])
def test_replay_is_live_byte_for_byte(tmp_path: Path, batch: int, restart: bool) -> None:
    posts = eventful()
    assert replayed(tmp_path, posts) == live(posts, batch, restart)


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "restart"), [(1, False), (101, True)])
def test_what_a_market_says_is_replayed_byte_for_byte_too(tmp_path: Path, batch: int, restart: bool) -> None:
    names = [f"E{n}" for n in range(8)]
    posts = in_order(*(background(name, 6, 12, 3) for name in names), market_drop(names, START_MS + 5 * DAY_MS))
    expected = live(posts, batch, restart)
    assert b'"rule":"market_wide"' in expected[1]
    assert replayed(tmp_path, posts) == expected


@pytest.mark.slow
@pytest.mark.parametrize("hosts", [1, 4, 8])
def test_hosts_that_share_the_entities_say_what_one_replay_says(tmp_path: Path, hosts: int) -> None:
    """A key has one host, as in Flink: which others it has beside it changes nothing but the order of the lines."""
    posts = merged([eventful(), *(background(f"E{n}", 13, 15, n + 3) for n in range(8))])
    ordered = sorted(posts, key=post_order)
    parts = [[post for post in ordered if crc32(post.entity.encode()) % hosts == number] for number in range(hosts)]
    told = [live(part, 500, restart=True) for part in parts if part]
    whole = replayed(tmp_path, ordered)
    for kind in range(2):
        lines = [line for part in told for line in part[kind].splitlines()]
        assert sorted(lines) == sorted(whole[kind].splitlines())
    assert whole[1]


@pytest.mark.slow
def test_arrival_order_replays_late_posts_as_late_as_they_were(tmp_path: Path) -> None:
    rng = random.Random(3)
    posts = [
        post.model_copy(update={"available_at_ms": post.event_time_ms + rng.randrange(CONFIG.allowed_lateness_ms)})
        for post in eventful()
    ]
    as_it_came = sorted(posts, key=lambda post: (post.available_at_ms, post.event_time_ms, post.event_id))
    expected = live(as_it_came, 50, True)
    assert replayed(tmp_path, posts, "--arrival") == expected
    assert replayed(tmp_path, posts) != expected


def test_a_span_that_ends_before_it_begins_is_refused(tmp_path: Path) -> None:
    options = ["replay", "posts.jsonl", "--out", str(tmp_path), "--from", "2024-02-01", "--to", "2024-01-01"]
    result = CliRunner().invoke(command_line(), options)
    assert result.exit_code == 2
    assert "does not lie after --from" in " ".join(result.output.split())
