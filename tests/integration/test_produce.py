"""`produce` and `dlq` through the command line, against a real Kafka."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline.adapters.kafka_admin import KafkaAdmin, TopicState
from pipeline.adapters.kafka_reader import KafkaReader
from pipeline.adapters.kafka_sink import KafkaSink
from pipeline.adapters.streams import Record
from pipeline.adapters.waiting import wait_until
from pipeline.commands import dlq, produce
from pipeline.errors import ConfigurationError, Reason
from pipeline.events import BehaviorEvent, DeadLetter, SocialPost
from pipeline.settings import KafkaSettings
from pipeline.topics import DEAD_LETTERS, EVENTS, POSTS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]
T0 = 1_400_000_000_000
Run = Callable[..., Result]
MAPPING = """
contract: post
source: test
fields: {event_time_ms: t, author_id: who, text: text}
"""


@pytest.fixture
def kafka(kafka_bootstrap: str, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap=kafka_bootstrap, topic_prefix=topic_prefix)
    with KafkaAdmin(settings) as admin:
        admin.create(TopicState(t.full_name(topic_prefix), t.partitions, 1, {}) for t in (POSTS, EVENTS, DEAD_LETTERS))
    return settings


@pytest.fixture
def environment(kafka: KafkaSettings, tmp_path: Path) -> dict[str, str]:
    return {
        "GROUNDSWELL_KAFKA__BOOTSTRAP": kafka.bootstrap,
        "GROUNDSWELL_KAFKA__TOPIC_PREFIX": kafka.topic_prefix,
        "GROUNDSWELL_HOME": str(tmp_path / "home"),
    }


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    app = typer.Typer()
    produce.register(app)
    dlq.register(app)

    def call(*arguments: object, code: int = 0) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)
        assert result.exit_code == code, result.output
        return result

    return call


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    path = tmp_path / "m.yaml"
    path.write_text(MAPPING)
    return path


def held(kafka: KafkaSettings, topic: str) -> list[Record]:
    return list(KafkaReader(kafka).read_range(f"{kafka.topic_prefix}{topic}"))


def write_rows(path: Path, count: int) -> Path:
    rows = ({"t": T0 + index, "who": "a", "text": f"text {index}"} for index in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def summary(result: Result) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


def test_a_file_goes_to_kafka_and_refused_rows_to_the_reject_file(
    kafka: KafkaSettings, run: Run, mapping: Path, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 300)
    with rows.open("a") as file:
        file.write('{"t": 17, "who": "a", "text": "seconds?"}\nnot json\n')
    told = summary(run("produce", "file", rows, "--map", mapping, "--json"))
    assert (told["sent"], told["rejected"], told["complete"]) == (300, 2, True)
    records = held(kafka, "posts")
    assert {SocialPost.model_validate_json(r.value).text for r in records} == {f"text {index}" for index in range(300)}
    assert all(r.timestamp_ms == SocialPost.model_validate_json(r.value).event_time_ms for r in records)
    refused = [json.loads(line) for line in Path(told["rejects"]).read_text().splitlines()]
    assert [(each["line"], each["reason"], each["field"]) for each in refused] == [
        (301, "time_out_of_range", "event_time_ms"),
        (302, "invalid_json", "record"),
    ]


def test_a_run_goes_on_where_it_ended_and_repeats_give_the_same_ids(
    kafka: KafkaSettings, run: Run, mapping: Path, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 50)
    first = summary(run("produce", "file", rows, "--map", mapping, "--limit", 20, "--json"))
    second = summary(run("produce", "file", rows, "--map", mapping, "--resume", "--json"))
    assert (first["sent"], second["resumed_after_line"], second["sent"], second["complete"]) == (20, 20, 30, True)
    keys = sorted(str(record.key) for record in held(kafka, "posts"))
    assert len(set(keys)) == len(keys) == 50
    run("produce", "file", rows, "--map", mapping)
    assert len({record.key for record in held(kafka, "posts")}) == 50


def test_a_topic_that_was_made_anew_gets_the_rows_from_the_first_on(
    kafka: KafkaSettings, run: Run, mapping: Path, tmp_path: Path
) -> None:
    rows, topic = write_rows(tmp_path / "rows.jsonl", 50), POSTS.full_name(kafka.topic_prefix)
    run("produce", "file", rows, "--map", mapping, "--limit", 20)
    with KafkaAdmin(kafka) as admin:
        admin.delete([topic])
        refused = run("produce", "file", rows, "--map", mapping, "--resume", code=1).exception
        admin.create([TopicState(topic, 4, 1, {})])
    assert str(refused) == f"topic '{topic}' does not exist; `groundswell provision` creates the topics"
    again = summary(run("produce", "file", rows, "--map", mapping, "--resume", "--json"))
    assert (again["resumed_after_line"], again["sent"], len(held(kafka, "posts"))) == (0, 50, 50)


def test_sigterm_ends_a_paced_run_and_resume_sends_the_rest(
    kafka: KafkaSettings, environment: dict[str, str], run: Run, mapping: Path, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 40)
    late = {"t": T0 + 3_600_000, "who": "a", "text": "an hour later"}
    with rows.open("a") as file:
        file.write(json.dumps(late) + "\n")
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "produce", "file", rows, "--map", mapping]
    process = subprocess.Popen(
        [*map(str, command), "--speed", "1", "--json"],
        env={"PATH": "/usr/bin:/bin", **environment},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert wait_until(lambda: len(held(kafka, "posts")) == 40, 120.0, 0.5)
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, errors
    assert "--resume" in errors
    assert json.loads(out)["sent"] == 40
    rest = summary(run("produce", "file", rows, "--map", mapping, "--resume", "--json"))
    assert (rest["resumed_after_line"], rest["sent"]) == (40, 1)
    assert len(held(kafka, "posts")) == 41


def test_posts_out_of_order_stop_with_the_command_that_sorts_them(
    kafka: KafkaSettings, run: Run, mapping: Path, tmp_path: Path
) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "rows.sorted.jsonl.gz"
    lines = write_rows(rows, 10).read_text().splitlines(keepends=True)
    rows.write_text("".join(reversed(lines)))
    app = typer.Typer()
    produce.register(app)
    result = run("produce", "file", rows, "--map", mapping, code=1)
    assert isinstance(result.exception, ConfigurationError)
    assert f"groundswell produce sort {rows} --map {mapping} --out {out}" in str(result.exception)
    run("produce", "sort", rows, "--map", mapping, "--out", out)
    assert summary(run("produce", "file", out, "--map", mapping, "--json"))["sent"] == 10


def test_the_synthetic_world_goes_to_kafka_with_the_truth_beside_it(kafka: KafkaSettings, run: Run, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    told = summary(run("produce", "synthetic", "--posts", 500, "--users", 20, "--truth", truth, "--json"))
    posts, events = held(kafka, "posts"), held(kafka, "events")
    assert (len(posts), len(posts) + len(events)) == (500, told["sent"])
    assert all(BehaviorEvent.model_validate_json(record.value) for record in events)
    assert {json.loads(line)["kind"] for line in truth.read_text().splitlines()} == {"negative_spike", "bot_flood"}


def test_dead_letters_are_listed_and_go_back_once(kafka: KafkaSettings, run: Run) -> None:
    posts = POSTS.full_name(kafka.topic_prefix)
    reasons = [Reason.INVALID_JSON, Reason.EMPTY_TEXT, Reason.INVALID_JSON]
    sink = KafkaSink(kafka)
    for offset, reason in enumerate(reasons):
        letter = DeadLetter(
            reason=reason,
            field="record",
            value="{",
            fix="write JSON",
            topic=posts,
            partition=1,
            offset=offset,
            first_seen_ms=T0 + 5,
            timestamp_ms=T0,
            key=b"k",
            payload=b"{ %d \xff" % offset,
        )
        for _ in range(2):  # a redelivered worker writes a dead letter twice
            sink.write(DEAD_LETTERS.full_name(kafka.topic_prefix), posts.encode(), letter.to_json(), T0 + 5)
    sink.close()
    listed = json.loads(run("dlq", "list", "--json").stdout)
    assert [(each["offset"], each["reason"], each["redriven"]) for each in listed] == [
        (0, "invalid_json", False),
        (1, "empty_text", False),
        (2, "invalid_json", False),
    ]
    assert listed[0].keys() >= {"topic", "partition", "field", "value", "fix", "first_seen_ms"}
    assert "write JSON" in run("dlq", "list", "--reason", "empty_text").stdout
    assert json.loads(run("dlq", "redrive", "--dry-run", "--json").stdout)["would_send"] == 3
    assert held(kafka, "posts") == []
    assert json.loads(run("dlq", "redrive", "--reason", "empty_text", "--json").stdout)["sent"] == 1
    assert json.loads(run("dlq", "redrive", "--json").stdout) == {"distinct": 3, "sent": 2, "already": 1, "refused": 0, "left": 0}
    assert json.loads(run("dlq", "redrive", "--json").stdout)["sent"] == 0
    records = held(kafka, "posts")
    assert sorted(r.value for r in records) == [b"{ 0 \xff", b"{ 1 \xff", b"{ 2 \xff"]
    assert {(r.key, r.timestamp_ms) for r in records} == {(b"k", T0)}
