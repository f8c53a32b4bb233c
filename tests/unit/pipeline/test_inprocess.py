"""The pipeline in one process: the same answers however the input is cut, and accounts that always hold."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline.core.delivery import Answer, Outcome
from pipeline.core.profile_bytes import encode
from pipeline.demo.inputs import with_bad_records
from pipeline.events import Alert, DeadLetter, SocialPost, Trend
from pipeline.inprocess import Accounting, Incoming, InProcess, score_posts, turns
from pipeline.settings import NotifySettings, Settings
from pipeline.topics import DEAD_LETTERS
from producers.synthetic import SyntheticConfig, stream
from workers.fake_encoder import FakeEncoder

WORLD = SyntheticConfig(seed=5, posts=900, users=8, hours=72.0, negative_spikes=1)
SETTINGS = Settings(notify=NotifySettings(retry_schedule_s=(0.05, 0.05)))


class Recorder:
    """An endpoint that refuses the first attempt at each delivery."""

    endpoint = name = "recorder"

    def __init__(self) -> None:
        self.attempts: list[str] = []

    def send(self, delivery_id: str, body: bytes, now_ms: int) -> Answer:
        assert body
        assert now_ms > 0
        self.attempts.append(delivery_id)
        again = self.attempts.count(delivery_id) > 1
        return Answer(Outcome.DELIVERED, 200) if again else Answer(Outcome.SERVER_ERROR, 500)


@contextmanager
def opened(*receivers: Recorder) -> Iterator[InProcess]:
    pipeline = InProcess(FakeEncoder(), SETTINGS, receivers)
    yield pipeline
    pipeline.close()


def play(pipeline: InProcess, size: int) -> tuple[list[Trend], list[Alert]]:
    trends: list[Trend] = []
    alerts: list[Alert] = []
    for batch in turns(with_bad_records(map(Incoming.of, stream(WORLD))), size):
        turn = pipeline.turn(batch)
        assert pipeline.accounting().holds()
        trends += turn.trends
        alerts += turn.alerts
    last = pipeline.finish()
    return [*trends, *last.trends], [*alerts, *last.alerts]


def profiles(pipeline: InProcess) -> dict[str, bytes]:
    found = {user: pipeline.store.get(user) for user in pipeline.store.user_ids()}
    return {user: encode(profile) for user, profile in found.items() if profile is not None}


@pytest.mark.slow
def test_turns_of_any_size_give_the_same_trends_alerts_and_profiles() -> None:
    with opened() as whole, opened() as cut:
        assert play(whole, 100_000) == play(cut, 37)
        assert whole.accounting() == cut.accounting()
        assert profiles(whole) == profiles(cut)


@pytest.mark.slow
def test_every_alert_arrives_although_each_first_attempt_fails() -> None:
    recorder = Recorder()
    with opened(recorder) as pipeline:
        _, alerts = play(pipeline, 200)
        pipeline.await_deliveries(threading.Event())
        assert pipeline.delivered() == len(alerts) > 0
    assert sorted(set(recorder.attempts)) == sorted(alert.delivery_id for alert in alerts)
    assert len(recorder.attempts) == 2 * len(alerts)


def test_bad_records_become_dead_letters_and_oversized_ones_never_get_in() -> None:
    huge = Incoming("posts", b"k", b'{"text": "' + b"x" * 20_000_000 + b'"}', 1_700_000_000_000)
    with opened() as pipeline:
        pipeline.turn([Incoming("posts", b"k", b"no json", 1_700_000_000_000), huge])
        accounting = pipeline.accounting()
        letters = [DeadLetter.model_validate_json(record.value) for record in pipeline.broker.records(DEAD_LETTERS.name)]
    assert accounting == Accounting(accepted=1, scored=0, dead_letters=1, in_flight=0, refused=1)
    assert [letter.payload for letter in letters] == [b"no json"]


def test_score_posts_yields_one_scored_post_per_entity_in_time_order() -> None:
    posts = [
        SocialPost(event_id=f"p{n}", event_time_ms=1_700_000_000_000 + n, author_id="a", text=text, entities=entities)
        for n, (text, entities) in enumerate(
            [("A terrible scandal", ("ACME", "ZZZ")), ("what a great profit", ("ACME",)), ("hm", ())]
        )
    ]
    scored = list(score_posts(posts, FakeEncoder(), SETTINGS))
    assert [(post.event_id, post.entity) for post in scored] == [("p0", "ACME"), ("p0", "ZZZ"), ("p1", "ACME"), ("p2", "")]
    assert scored[0].sentiment.negative > 0.5 > scored[2].sentiment.negative


@pytest.mark.parametrize(("scored", "holds"), [(7, True), (8, False)])
def test_accounts_hold_only_when_they_add_up(scored: int, holds: bool) -> None:
    assert Accounting(10, scored, 2, 1).holds() is holds
