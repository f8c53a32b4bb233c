"""The worker when something fails or is slow: a text, the model, the device, the store, the broker."""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.adapters.memory import MemorySink, MemorySource
from pipeline.adapters.stores import MemoryProfileStore, Outcomes
from pipeline.adapters.streams import Record, TopicPartition
from pipeline.adapters.waiting import wait_until
from pipeline.errors import ConfigurationError, ModelError, Reason, Stop, Unavailable
from tests.unit.workers.playground import GROUP, Playground, Slow, click, post, replace_monotonic, rules
from workers.encoder import Encodings, TokenIds
from workers.fake_encoder import FakeEncoder
from workers.worker import Connections


@pytest.fixture
def ground() -> Playground:
    return Playground()


class Fragile(FakeEncoder):
    """Fails on the word poison, answers NaN to strange, and takes at most ``room`` texts at once."""

    def __init__(self, room: int = 1_000) -> None:
        super().__init__()
        self.room = room
        (self._poison,) = self.tokenize(["poison"])
        (self._strange,) = self.tokenize(["strange"])

    def encode(self, tokens: Sequence[TokenIds]) -> Encodings:
        if len(tokens) > self.room:
            raise MemoryError(f"{len(tokens)} texts do not fit")
        if any(self._poison[0] in ids for ids in tokens):
            raise RuntimeError("kernel died")
        encodings = super().encode(tokens)
        for row, ids in enumerate(tokens):
            if self._strange[0] in ids:
                encodings.vectors[row] = np.nan
        return encodings


def test_a_poisonous_text_is_found_by_halves_and_nan_is_never_written() -> None:
    ground = Playground(encoder=Fragile())
    ground.give_posts(*(post(n, text=f"text number {n}") for n in range(40)))
    ground.give_posts(post(50, text="poison here"), post(51, text="strange words"), post(52, text="poison again"))
    ground.run()
    assert {s.event_id for s in ground.scored()} == {f"p{n}" for n in range(40)}
    letters = {json.loads(letter.payload)["event_id"]: letter for letter in ground.letters()}
    assert set(letters) == {"p50", "p51", "p52"}
    assert all(letter.reason == Reason.MODEL_FAILED for letter in letters.values())
    assert "kernel died" in letters["p50"].fix
    assert "finite" in letters["p51"].fix


def test_a_batch_that_does_not_fit_the_device_is_halved_and_nothing_is_lost() -> None:
    ground = Playground(encoder=Fragile(room=3))
    ground.give_posts(*(post(n, text=f"text number {n}") for n in range(40)))
    ground.run()
    assert len(ground.scored()) == 40
    assert ground.letters() == []


class Broken(FakeEncoder):
    """Answers no text."""

    def encode(self, tokens: Sequence[TokenIds]) -> Encodings:
        raise RuntimeError(f"kernel died over {len(tokens)} texts")


def test_a_model_that_answers_nothing_stops_the_worker_before_anything_is_committed() -> None:
    ground = Playground(encoder=Broken())
    ground.give_posts(*(post(n, text=f"text number {n}") for n in range(40)))
    with pytest.raises(ModelError, match="kernel died"):
        ground.run()
    assert ground.committed() == 0
    assert ground.letters() == []


def test_a_broken_device_makes_no_dead_letters_of_a_quiet_stream() -> None:
    ground = Playground(encoder=Broken())
    ground.give_posts(post(1, text="an honest text"))
    with pytest.raises(ModelError, match="not even 'good morning'"):
        ground.run()
    assert (ground.committed(), ground.letters()) == (0, [])


def test_any_number_of_poisonous_texts_pass_as_dead_letters() -> None:
    ground = Playground(encoder=Fragile())
    ground.give_posts(*(post(n, text=f"poison number {n}") for n in range(40)))
    ground.give_posts(*(post(40 + n, text=f"strange number {n}") for n in range(40)))
    ground.run()
    assert (ground.progress(), ground.committed()) == ((0, 80), 80)


def test_too_many_bad_records_in_a_row_stop_the_worker() -> None:
    ground = Playground(rules=rules(max_consecutive_dead_letters=30, max_poll_records=10))
    ground.give_posts(*(post(n) for n in range(10)), *(b"not json %d" % n for n in range(200)))
    with pytest.raises(Stop, match=r"30 records in a row cannot be used.*invalid_json"):
        ground.run()
    assert len(ground.letters()) <= 40


def test_another_models_profiles_stop_the_worker_or_begin_anew() -> None:
    ground = Playground()
    ground.give_clicks(click(1))
    ground.run()
    ground.encoder = FakeEncoder()
    ground.encoder.revision = "fake-2"
    ground.give_clicks(click(8))
    before = ground.committed()
    with pytest.raises(ConfigurationError, match="--restart-profiles"):
        ground.run()
    assert ground.committed() == before
    ground.rules = ground.rules.restarting(True)
    ground.run()
    profile = ground.store.get("u1")
    assert profile is not None
    assert (profile.model_revision, profile.events) == ("fake-2", 1)


class Flaky(MemoryProfileStore):
    """Does not answer the first ``times`` calls of every kind."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._left = {"apply": times, "advance": times, "progress": times}

    def _maybe_fail(self, kind: str) -> None:
        self._left[kind] -= 1
        if self._left[kind] >= 0:
            raise Unavailable("Redis does not answer")

    def apply(self, updates: Any, spec: Any) -> Any:
        self._maybe_fail("apply")
        return super().apply(updates, spec)

    def advance(self, outcomes: Mapping[TopicPartition, Outcomes]) -> None:
        self._maybe_fail("advance")
        super().advance(outcomes)

    def progress(self, partitions: Any) -> Any:
        if self._left["progress"] > 0:
            self._maybe_fail("progress")
        return super().progress(partitions)


@pytest.mark.slow
def test_a_store_that_is_away_for_a_while_delays_but_loses_nothing() -> None:
    ground = Playground(store=Flaky(times=2))
    ground.give_posts(*(post(n) for n in range(10)))
    worker = ground.run()
    assert worker.totals == (10, 10, 0)
    assert ground.progress() == (10, 0)


def test_a_broker_that_is_away_is_waited_for_and_nothing_is_committed_meanwhile(ground: Playground) -> None:
    ground.give_posts(*(post(n) for n in range(10)))
    source = ground.source()
    sink = MemorySink(ground.broker)
    worker = ground.worker(Connections(source, sink, ground.store))
    worker.step()
    ground.broker.available = False
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,), daemon=True)
    thread.start()
    assert wait_until(lambda: ground.metric("stage_seconds_count", stage="apply") >= 1, timeout_s=10)
    assert ground.committed() == 0
    ground.broker.available = True
    assert wait_until(lambda: worker.totals.scored == 10, timeout_s=10)
    stop.set()
    thread.join(timeout=10)
    worker.close()
    assert not thread.is_alive()
    assert ground.committed() == 10


def test_a_server_that_stays_away_ends_the_drain_with_an_error_and_commits_nothing() -> None:
    ground = Playground(store=Flaky(times=10**6), rules=rules(drain_timeout_s=0.3))
    ground.give_posts(post(1))
    worker = ground.worker()
    stop = threading.Event()
    failures: list[Exception] = []

    def run() -> None:
        try:
            worker.run(stop)
        except Unavailable as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    taken = wait_until(lambda: worker.totals.in_flight == 1, timeout_s=5)
    stop.set()
    thread.join(timeout=10)
    worker.close()
    assert taken
    assert [str(error).partition(" takes")[0] for error in failures] == ["durable"]
    assert (ground.committed(), worker.totals.in_flight) == (0, 1)


class Unsteady(MemorySource):
    """Every other poll fails."""

    polls = 0

    def poll(self, max_records: int, timeout_ms: int) -> Sequence[Record]:
        self.polls += 1
        if self.polls % 2:
            raise Unavailable("broker does not answer")
        return super().poll(max_records, timeout_ms)


def test_a_poll_that_fails_has_no_records_and_the_next_one_has_them(ground: Playground) -> None:
    ground.give_posts(*(post(n) for n in range(10)))
    source = Unsteady(ground.broker, GROUP, [ground.rules.topics.posts])
    worker = ground.worker(Connections(source, MemorySink(ground.broker), ground.store))
    worker.run(threading.Event(), until_idle=True)
    worker.close()
    assert worker.totals == (10, 10, 0)


class Watched(MemorySource):
    """Counts polls while paused."""

    polls_while_paused = 0
    is_paused = False

    def pause(self) -> None:
        self.is_paused = True
        super().pause()

    def resume(self) -> None:
        self.is_paused = False
        super().resume()

    def poll(self, max_records: int, timeout_ms: int) -> Sequence[Record]:
        self.polls_while_paused += self.is_paused
        return super().poll(max_records, timeout_ms)


@pytest.mark.slow
def test_while_the_device_computes_the_source_is_paused_and_polled_and_readiness_tells_a_stuck_record() -> None:
    seconds = [0.0]
    encoder = Slow()
    ground = Playground(encoder=encoder, rules=rules(max_poll_records=5, stuck_after_s=60.0))
    ground.clock = replace_monotonic(ground, seconds)
    ground.give_posts(*(post(n) for n in range(20)))
    source = Watched(ground.broker, GROUP, [ground.rules.topics.posts])
    worker = ground.worker(Connections(source, MemorySink(ground.broker), ground.store))
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop, True), daemon=True)
    thread.start()
    assert encoder.entered.wait(10)
    assert wait_until(lambda: source.polls_while_paused >= 2, timeout_s=10)
    assert worker.readiness().ready
    seconds[0] = 61.0
    assert not worker.readiness().ready
    assert "in flight for 61 s" in worker.readiness().detail
    seconds[0] = 1.0
    encoder.let.set()
    thread.join(timeout=20)
    worker.close()
    assert not thread.is_alive()
    assert worker.totals == (20, 20, 0)
    assert worker.readiness().ready


def test_a_stop_finishes_what_is_in_flight_and_takes_nothing_new(ground: Playground) -> None:
    ground.rules = replace(ground.rules, max_poll_records=4)
    ground.give_posts(*(post(n) for n in range(20)))
    worker = ground.worker()
    worker.step()
    stop = threading.Event()
    stop.set()
    worker.run(stop)
    worker.close()
    assert worker.totals == (4, 4, 0)
    assert ground.committed() == 4


def test_a_store_that_lost_its_tail_is_read_again_from_its_own_progress(ground: Playground) -> None:
    ground.give_clicks(*(click(n) for n in range(30)))
    ground.run()
    expected = ground.profiles()
    lossy = Playground(broker=ground.broker)  # an empty store whose progress stands behind the commit
    lossy.store.advance({p: Outcomes(0, [], []) for p in ground.broker.partitions(ground.rules.topics.events)})
    lossy.give_clicks(*(click(n, item_text=None) for n in range(30, 60)))
    lossy.run()
    recovered = {user_id: lossy.store.get(user_id) for user_id in expected}
    assert all(profile is not None and profile.families[0].buckets for profile in recovered.values())
    assert lossy.progress() == (60, 0)
