"""A crash before, in the middle of or after every durable step, then another worker: the same end as without a crash."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest

from pipeline.adapters.memory import MemorySink, MemorySource
from pipeline.adapters.stores import Applied, MemoryProfileStore, Outcomes, ProfileSpec, Progress, Update
from pipeline.adapters.streams import TopicPartition
from tests.unit.workers.playground import GROUP, Playground, click, post, rules
from workers.worker import Connections, Worker

STEPS = ("apply", "write", "flush", "advance", "commit")
MOMENTS = ("before", "within", "after")


class Crash(Exception):
    """The process is gone."""


@dataclass
class Plan:
    """Crash at the ``call``-th call of ``step``."""

    step: str
    moment: str
    call: int
    seen: int = 0

    def around(self, step: str, action: Callable[[], Any], half: Callable[[], Any]) -> Any:
        if step != self.step:
            return action()
        self.seen += 1
        if self.seen != self.call:
            return action()
        if self.moment == "before":
            raise Crash
        (half if self.moment == "within" else action)()
        raise Crash


class CrashingStore:
    def __init__(self, store: MemoryProfileStore, plan: Plan) -> None:
        self._store = store
        self._plan = plan

    def apply(self, updates: Sequence[Update], spec: ProfileSpec) -> Applied:
        half = updates[: len(updates) // 2]
        applied: Applied = self._plan.around(
            "apply", lambda: self._store.apply(updates, spec), lambda: self._store.apply(half, spec)
        )
        return applied

    def advance(self, outcomes: Mapping[TopicPartition, Outcomes]) -> None:
        some = dict(list(outcomes.items())[:1])
        self._plan.around("advance", lambda: self._store.advance(outcomes), lambda: self._store.advance(some))

    def progress(self, partitions: Any) -> dict[TopicPartition, Progress]:
        return self._store.progress(partitions)

    def get(self, user_id: str) -> Any:
        return self._store.get(user_id)

    def forget(self, user_id: str, now_ms: int) -> bool:
        return self._store.forget(user_id, now_ms)


class CrashingSink(MemorySink):
    plan: Plan

    def write(self, *args: Any, **kwargs: Any) -> None:
        self.plan.around("write", lambda: super(CrashingSink, self).write(*args, **kwargs), lambda: None)

    def flush(self) -> None:
        self.plan.around("flush", super().flush, lambda: None)


class CrashingSource(MemorySource):
    plan: Plan

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        some = dict(list(offsets.items())[:1])
        commit = super().commit
        self.plan.around("commit", lambda: commit(offsets), lambda: commit(some))


def filled() -> Playground:
    ground = Playground(rules=rules(max_poll_records=16))
    ground.give_posts(*(post(n) for n in range(40)), b"not json", *(post(n) for n in range(5)))
    ground.give_clicks(*(click(n) for n in range(40)), b"", *(click(n) for n in range(5)))
    return ground


def what_stands(ground: Playground) -> dict[str, Any]:
    return {
        "profiles": ground.profiles(),
        "scored": {(s.event_id, s.entity) for s in ground.scored()},
        "letters": {(letter.topic, letter.partition, letter.offset) for letter in ground.letters()},
        "progress": ground.progress(),
        "committed": ground.committed(),
    }


@lru_cache
def without_a_crash() -> dict[str, Any]:
    ground = filled()
    ground.run()
    return what_stands(ground)


def crash(ground: Playground, plan: Plan) -> None:
    source = CrashingSource(ground.broker, GROUP, [ground.rules.topics.posts, ground.rules.topics.events])
    sink = CrashingSink(ground.broker)
    source.plan = sink.plan = plan
    worker = ground.worker(Connections(source, sink, CrashingStore(ground.store, plan)))
    with pytest.raises(Crash):
        _work_on(worker)
    worker.close()
    source.close()


def _work_on(worker: Worker) -> None:
    while True:
        worker.step()


@pytest.mark.parametrize("call", [1, 2, 4])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_leaves_no_trace_once_another_worker_went_on(step: str, moment: str, call: int) -> None:
    ground = filled()
    crash(ground, Plan(step, moment, call))
    ground.run()
    assert what_stands(ground) == without_a_crash()


def test_crash_after_crash_leaves_no_trace_either() -> None:
    ground = filled()
    for number, step in enumerate(STEPS * 2):
        crash(ground, Plan(step, MOMENTS[number % 3], 1))
    ground.run()
    assert what_stands(ground) == without_a_crash()


def test_the_end_does_not_depend_on_how_the_records_are_cut_into_chunks() -> None:
    ends = []
    for size in (1, 7, 1_000):
        ground = filled()
        ground.rules = rules(max_poll_records=size)
        ground.run()
        ends.append(what_stands(ground))
    assert ends == [without_a_crash()] * 3


def test_a_forgotten_user_is_not_brought_back_by_a_replay_of_everything() -> None:
    ground = filled()
    ground.run()
    ground.store.forget("u3", ground.clock.now_ms())
    replayed = Playground(broker=ground.broker, store=ground.store, rules=ground.rules)
    source = MemorySource(ground.broker, "another-group", [ground.rules.topics.events])
    worker = replayed.worker(Connections(source, MemorySink(ground.broker), ground.store))
    while worker.step():
        pass
    worker.close()
    assert ground.store.get("u3") is None
    expected = dict(without_a_crash()["profiles"])
    del expected["u3"]
    assert ground.profiles() == expected
