"""`groundswell notify` on a real Kafka and a real Redis, against a receiver that does everything wrong a receiver can do."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pipeline.adapters.kafka_admin import KafkaAdmin, TopicState
from pipeline.adapters.kafka_sink import KafkaSink
from pipeline.adapters.kafka_source import KafkaSource
from pipeline.adapters.redis_delivery_log import RedisDeliveryLog
from pipeline.adapters.waiting import wait_until
from pipeline.adapters.webhook import WebhookReceiver
from pipeline.core.bodies import body
from pipeline.events import Alert, AlertGroup, AlertReason, AlertStatus, DeadLetter
from pipeline.settings import KafkaSettings
from tests.alerts import make_alert, make_market_alert
from tests.receivers import OTHER_SECRET, SECRET, Receiver, Reply, Seen, receiving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
TIMEOUT_S = 4.0  # long enough that a loaded machine does not turn an answer into a timeout
SENDERS = 4
GROUNDSWELL = [sys.executable, "-c", "from pipeline.cli import main; main()"]


def hostile(delivery_id: str, before: int) -> Reply:
    """Fail in 45 of 100 attempts, each (id, attempt) always the same way; give in at the eighth."""
    draw = hashlib.sha256(f"{delivery_id}/{before}".encode()).digest()[0] * 100 // 256
    if before >= 7 or draw >= 45:
        return Reply(204)
    if draw >= 40:
        return Reply(reset=True)
    if draw >= 35:
        return Reply(hang=True)
    if draw >= 30:
        return Reply(429 if draw % 2 else 503, {"retry-after": "1"})
    return Reply((500, 501, 502)[draw % 3], body=b"no")


class Stack:
    """Kafka and Redis as one test sees them, and how to start a notifier on them."""

    def __init__(self, bootstrap: str, topic_prefix: str, redis_url: str, key_prefix: str, home: Path) -> None:
        self.kafka = KafkaSettings(bootstrap=bootstrap, topic_prefix=topic_prefix)
        self._env = {
            "GROUNDSWELL_HOME": str(home),
            "GROUNDSWELL_LOG_FORMAT": "json",
            "GROUNDSWELL_KAFKA__BOOTSTRAP": bootstrap,
            "GROUNDSWELL_KAFKA__TOPIC_PREFIX": topic_prefix,
            "GROUNDSWELL_REDIS__URL": redis_url,
            "GROUNDSWELL_REDIS__KEY_PREFIX": key_prefix,
            "GROUNDSWELL_NOTIFY__GROUP": f"{topic_prefix}notifier",
            "GROUNDSWELL_NOTIFY__TIMEOUT_S": str(TIMEOUT_S),
            "GROUNDSWELL_NOTIFY__SENDERS": str(SENDERS),
            "GROUNDSWELL_NOTIFY__RETRY_SCHEDULE_S": json.dumps([0.1] * 12),
        }
        with KafkaAdmin(self.kafka) as admin:
            admin.create(TopicState(f"{topic_prefix}{name}", 1, 1, {}) for name in ("alerts", "dead-letters"))

    def produce(self, *values: bytes) -> None:
        with closing(KafkaSink(self.kafka)) as sink:
            for value in values:
                sink.write(f"{self.kafka.topic_prefix}alerts", b"ACME", value, 1_704_067_200_000)

    def letters(self) -> list[DeadLetter]:
        topic = f"{self.kafka.topic_prefix}dead-letters"
        with closing(KafkaSource(self.kafka, f"{topic}-reader", [topic])) as source:
            found: list[DeadLetter] = []

            def poll() -> bool:
                found.extend(DeadLetter.model_validate_json(record.value) for record in source.poll(100, 500))
                return bool(found)

            wait_until(poll, 60)
            return found

    @contextmanager
    def notifying(
        self, *urls: str, arguments: tuple[str, ...] = ("--until-idle",), env: Mapping[str, str] | None = None
    ) -> Iterator["subprocess.Popen[bytes]"]:
        endpoints = [{"url": url, "secrets": [OTHER_SECRET, SECRET]} for url in urls]
        chosen = os.environ | self._env | {"GROUNDSWELL_NOTIFY__ENDPOINTS": json.dumps(endpoints)} | dict(env or {})
        with subprocess.Popen([*GROUNDSWELL, "notify", *arguments], env=chosen, stderr=subprocess.PIPE) as process:
            try:
                yield process
            finally:
                process.kill()

    def notify(self, *urls: str, **env: str) -> None:
        with self.notifying(*urls, env=env) as process:
            _, said = process.communicate(timeout=180)
            assert process.returncode == 0, said.decode()

    def await_queued(self, url: str, count: int) -> None:
        endpoint = WebhookReceiver(url, [SECRET], TIMEOUT_S).endpoint
        redis_url, prefix = (self._env[f"GROUNDSWELL_REDIS__{name}"] for name in ("URL", "KEY_PREFIX"))
        with closing(RedisDeliveryLog.connect(redis_url, prefix)) as log:
            assert wait_until(lambda: log.waiting(endpoint) == count, 180)

    def silence(self, *arguments: str) -> str:
        ran = subprocess.run([*GROUNDSWELL, "silence", *arguments], env=os.environ | self._env, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@pytest.fixture
def stack(kafka_bootstrap: str, topic_prefix: str, redis_url: str, key_prefix: str, tmp_path: Path) -> Stack:
    return Stack(kafka_bootstrap, topic_prefix, redis_url, key_prefix, tmp_path)


def by_id(receiver: Receiver) -> dict[str, list[Seen]]:
    grouped: dict[str, list[Seen]] = {}
    for seen in receiver.seen:
        grouped.setdefault(seen.delivery_id, []).append(seen)
    return grouped


def after_throttling(receiver: Receiver, wanted: Callable[[Seen], bool]) -> list[float]:
    """Return the waits between a throttled attempt and the next attempt at the same delivery."""
    pairs = [pair for attempts in by_id(receiver).values() for pair in zip(attempts, attempts[1:], strict=False)]
    return [later.at - earlier.at for earlier, later in pairs if wanted(earlier)]


def test_every_alert_arrives_once_although_the_receiver_is_hostile_and_the_notifier_is_killed(stack: Stack) -> None:
    alerts = [make_alert(f"a{n}", revision) for n in range(40) for revision in range(3)]
    stack.produce(*(alert.to_json() for alert in alerts))
    with receiving(hostile) as receiver:
        with stack.notifying(receiver.url) as process:
            receiver.await_attempts(60, timeout_s=180)
            process.send_signal(signal.SIGKILL)
            process.wait()
        stack.produce(*(alert.to_json() for alert in alerts[:20]))  # the same records again: already known
        stack.notify(receiver.url)
        attempts = by_id(receiver)
        arrived = Counter(receiver.accepted_ids())
    assert set(arrived) == {alert.delivery_id for alert in alerts}
    twice = [delivery_id for delivery_id, times in arrived.items() if times > 1]
    assert len(twice) <= SENDERS, "only what was on its way at the kill may come twice"
    assert max(arrived.values()) <= 2
    for alert in alerts:
        for seen in attempts[alert.delivery_id]:
            seen.verify(SECRET)
            assert seen.body == body(alert)
    for n in range(40):
        first_arrivals = list(
            dict.fromkeys(s.delivery_id for s in receiver.seen if s.accepted and s.delivery_id.startswith(f"a{n}."))
        )
        assert first_arrivals == [f"a{n}.0", f"a{n}.1", f"a{n}.2"]
    throttled = after_throttling(receiver, lambda seen: "retry-after" in seen.reply.headers)
    assert throttled
    assert min(throttled) >= 1.0


def test_without_a_kill_nothing_comes_twice_and_a_second_run_sends_nothing(stack: Stack) -> None:
    alerts = [make_alert(f"b{n}") for n in range(30)]
    stack.produce(*(alert.to_json() for alert in alerts))
    with receiving(hostile) as receiver, receiving() as quick:
        stack.notify(receiver.url, quick.url)
        assert sorted(receiver.accepted_ids()) == sorted(quick.accepted_ids()) == sorted(a.delivery_id for a in alerts)
        attempts = len(receiver.seen)
        stack.produce(alerts[0].to_json())
        stack.notify(receiver.url, quick.url)
        assert len(receiver.seen) == attempts
        assert len(quick.seen) == len(alerts)


def test_what_is_exhausted_and_what_is_no_alert_become_dead_letters(stack: Stack) -> None:
    stack.produce(b"no alert", make_alert("c1").to_json())
    with receiving(lambda _id, _before: Reply(500, body=b"out of order")) as receiver:
        stack.notify(receiver.url, GROUNDSWELL_NOTIFY__RETRY_SCHEDULE_S="[0.05, 0.05]")
        assert len(receiver.seen) == 3
    invalid, spent = sorted(stack.letters(), key=lambda letter: letter.offset)
    assert (invalid.reason, invalid.payload) == ("invalid_json", b"no alert")
    assert (spent.reason, spent.value) == ("delivery_exhausted", "server_error 500 out of order")
    assert Alert.model_validate_json(spent.payload) == make_alert("c1")


def test_members_of_a_market_are_held_back_over_restarts_until_it_ends(stack: Stack) -> None:
    market = {"ACME": False, "BOLT": True}
    over = {"status": AlertStatus.RESOLVED, "reason": AlertReason.QUIET}
    with receiving() as receiver:
        stack.produce(make_market_alert(market).to_json())
        stack.notify(receiver.url)
        stack.produce(make_alert("e1").to_json(), make_alert("e2", entity="BOLT").to_json(), make_alert("e3").to_json())
        stack.produce(make_alert("e3", 1, **over).to_json())
        stack.notify(receiver.url)
        assert receiver.accepted_ids() == ["m1.0", "e2.0"]
        stack.produce(make_market_alert(market, 1, **over).to_json())
        stack.notify(receiver.url)
        assert sorted(receiver.accepted_ids()) == ["e1.0", "e2.0", "m1.0", "m1.1"]


def test_silences_hold_over_restarts_and_what_is_open_comes_after_them(stack: Stack) -> None:
    over = {"status": AlertStatus.RESOLVED, "reason": AlertReason.QUIET}
    with receiving(lambda delivery_id, before: Reply(500 if delivery_id == "f1.0" and before == 0 else 204)) as receiver:
        stack.produce(make_alert("f1").to_json())
        with stack.notifying(receiver.url, env={"GROUNDSWELL_NOTIFY__RETRY_SCHEDULE_S": "[5]"}) as process:
            receiver.await_attempts(1, timeout_s=180)
            process.send_signal(signal.SIGKILL)
            process.wait()
        added = stack.silence("add", "entity=ACME", "severity!=critical", "--author", "wei", "--comment", "earnings call")
        stack.produce(*(make_alert(f"f{n}").to_json() for n in (2, 3)), make_alert("f4", entity="BOLT").to_json())
        stack.produce(make_alert("f1", 1).to_json(), make_alert("f3", 1, **over).to_json())
        stack.notify(receiver.url)
        assert receiver.accepted_ids() == ["f4.0"]
        silence_id = added.split()[0]
        stack.silence("expire", silence_id)
        assert f"{silence_id}  ended" in stack.silence("list")
        stack.notify(receiver.url)
    assert sorted(receiver.accepted_ids()) == ["f1.1", "f2.0", "f4.0"]


GROUPED = {"GROUNDSWELL_NOTIFY__GROUP_BY": '["rule"]', "GROUNDSWELL_NOTIFY__GROUP_WAIT_S": "8"}


def test_a_crash_goes_out_together_although_the_notifier_is_killed_while_it_waits_and_while_it_sends(stack: Stack) -> None:
    alerts = [make_alert(f"g{n:02}", entity=f"E{n}") for n in range(12)]
    stack.produce(*(alert.to_json() for alert in alerts))
    with receiving(lambda _id, before: Reply(hang=True) if before == 0 else Reply()) as receiver:
        with stack.notifying(receiver.url, arguments=(), env=GROUPED) as process:
            stack.await_queued(receiver.url, len(alerts))
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert receiver.seen == []
        with stack.notifying(receiver.url, arguments=(), env=GROUPED) as process:
            receiver.await_attempts(1, timeout_s=180)
            process.send_signal(signal.SIGKILL)
            process.wait()
        stack.produce(*(alert.to_json() for alert in alerts))  # the same records again: already known
        stack.notify(receiver.url, **GROUPED)
        first, second = receiver.seen
        assert (first.delivery_id, first.body) == (second.delivery_id, second.body), "whoever takes over sends the same webhook"
        said = second.verify()
    assert isinstance(said, dict)
    assert said["type"] == "alert.group"
    told = AlertGroup.model_validate(said["data"])
    assert [alert.delivery_id for alert in told.alerts] == [alert.delivery_id for alert in alerts]
    assert second.accepted


def test_sigterm_ends_it_in_order(stack: Stack) -> None:
    stack.produce(make_alert("d1").to_json())
    with receiving() as receiver, stack.notifying(receiver.url, arguments=()) as process:
        receiver.await_attempts(1, timeout_s=180)
        process.terminate()
        assert process.wait(timeout=60) == 0
