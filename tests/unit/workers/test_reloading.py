from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.adapters.memory import MemorySink
from pipeline.adapters.waiting import wait_until
from pipeline.errors import ModelError
from pipeline.settings import EncoderSettings, Settings
from tests.unit.workers.playground import Playground, post
from tests.unit.workers.tiny_model import write_model, write_trained
from workers import hosting, reloading
from workers.entity_linking import EntityLinker
from workers.fake_encoder import FakeEncoder
from workers.model import shipped
from workers.model.describe import describe
from workers.reloading import LOOK_EVERY_S, TRY_AGAIN_S, Watcher, Weights
from workers.worker import Brain, Connections, Worker


class Newer(FakeEncoder):
    revision = "fake-2"


class Times:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def watcher(folder: Path, load: Callable[[], Weights], clock: Times, any_space: bool = False) -> Watcher:
    """Return a watcher that uses fake-1; what is published from then on is what ``load`` gives."""
    (folder / "record.json").write_text("{}", "utf-8")
    first = [Weights(FakeEncoder(), "space")]
    return Watcher(folder / "record.json", lambda: first.pop() if first else load(), clock, any_space)


def published(folder: Path, clock: Times, content: str) -> None:
    (folder / "record.json").write_text(content, "utf-8")
    clock.now_s += LOOK_EVERY_S


def polled(one: Watcher) -> list[Weights | None]:
    """Poll until what was begun to load is loaded; return what came."""
    came = [one.poll()]
    assert wait_until(lambda: one._loading is None or one._loading.done(), timeout_s=10)
    return [*came, one.poll()]


def test_weights_come_once_they_are_published_and_loaded(tmp_path: Path) -> None:
    clock = Times()
    one = watcher(tmp_path, lambda: Weights(Newer(), "space"), clock)
    clock.now_s += LOOK_EVERY_S
    assert polled(one) == [None, None]
    published(tmp_path, clock, '{"new": 1}')
    came = polled(one)[1]
    assert came is not None
    assert came.encoder.revision == "fake-2"
    clock.now_s += LOOK_EVERY_S
    assert polled(one) == [None, None]
    one.close()


@pytest.mark.parametrize("space", ["space", "other"])
def test_the_same_revision_and_another_space_are_not_taken_over(tmp_path: Path, space: str) -> None:
    clock = Times()
    encoder = FakeEncoder() if space == "space" else Newer()
    one = watcher(tmp_path, lambda: Weights(encoder, space), clock)
    published(tmp_path, clock, '{"new": 1}')
    assert polled(one) == [None, None]
    one.close()


def test_where_profiles_begin_anew_another_space_is_taken_over(tmp_path: Path) -> None:
    clock = Times()
    one = watcher(tmp_path, lambda: Weights(Newer(), "other"), clock, any_space=True)
    published(tmp_path, clock, '{"new": 1}')
    assert polled(one)[1] is not None
    one.close()


def test_weights_that_cannot_be_loaded_are_refused_until_better_ones_come(tmp_path: Path) -> None:
    clock = Times()
    ready: list[Weights] = []

    def load() -> Weights:
        if not ready:
            raise ModelError("sentiment.safetensors was altered")
        return ready[0]

    one = watcher(tmp_path, load, clock)
    published(tmp_path, clock, '{"bad": 1}')
    assert polled(one) == [None, None]
    (tmp_path / "record.json").unlink()
    clock.now_s += LOOK_EVERY_S
    assert polled(one) == [None, None]
    ready.append(Weights(Newer(), "space"))
    published(tmp_path, clock, '{"good": 1}')
    assert polled(one)[1] == ready[0]
    one.close()


@pytest.mark.parametrize("error", [ModelError("a full disk"), OSError("gone"), RuntimeError("out of memory"), MemoryError()])
def test_good_weights_whose_load_failed_once_are_tried_again_after_a_while(tmp_path: Path, error: Exception) -> None:
    clock = Times()
    errors = [error]
    loads: list[float] = []

    def load() -> Weights:
        loads.append(clock.now_s)
        if errors:
            raise errors.pop()
        return Weights(Newer(), "space")

    one = watcher(tmp_path, load, clock)
    published(tmp_path, clock, '{"good": 1}')
    assert polled(one) == [None, None]
    clock.now_s += TRY_AGAIN_S - 1
    assert polled(one) == [None, None]
    clock.now_s += LOOK_EVERY_S
    assert polled(one)[1] is not None
    clock.now_s += 2 * TRY_AGAIN_S
    assert polled(one) == [None, None]
    assert len(loads) == 2
    one.close()


def test_weights_published_while_the_first_ones_load_are_news(tmp_path: Path) -> None:
    clock = Times()
    record = tmp_path / "record.json"
    record.write_text("{}", "utf-8")

    def load() -> Weights:
        if record.read_text("utf-8") == "{}":
            record.write_text('{"new": 1}', "utf-8")
            return Weights(FakeEncoder(), "space")
        return Weights(Newer(), "space")

    one = Watcher(record, load, clock, any_space=False)
    assert one.using.encoder.revision == "fake-1"
    clock.now_s += LOOK_EVERY_S
    came = polled(one)[1]
    assert came is not None
    assert came.encoder.revision == "fake-2"
    one.close()


def test_a_worker_changes_its_model_between_chunks_and_loses_nothing() -> None:
    ground = Playground()
    news: list[Weights | None] = [None, None, Weights(Newer(), "fake-1")]
    brain = Brain(FakeEncoder(), EntityLinker([]), None, lambda: news.pop(0) if news else None)
    worker = Worker(
        Connections(ground.source(), MemorySink(ground.broker), ground.store), brain, ground.rules, ground.metrics, ground.clock
    )
    for first in range(0, 100, 10):
        ground.give_posts(*(post(n, text=f"post {n}") for n in range(first, first + 10)))
        worker.step()
    worker.drain()
    worker.close()
    revisions = {int(s.event_id[1:]): s.model_revision for s in ground.scored()}
    assert sorted(revisions) == list(range(100))
    assert worker.totals == (100, 100, 0)
    assert [revisions[n] for n in range(100)] == ["fake-1"] * 20 + ["fake-2"] * 80
    assert len(ground.profiles()) == 5


@pytest.mark.slow
def test_a_hosted_worker_takes_over_the_intents_that_a_user_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloading, "LOOK_EVERY_S", 0.0)
    weights = write_trained(tmp_path / "weights")
    encoder = EncoderSettings(model=str(write_model(tmp_path / "model")), weights=weights, device="cpu")
    with ExitStack() as stack:
        brain = hosting._brain(hosting.WorkOptions(), Settings(encoder=encoder, cache=tmp_path), stack)
        assert brain.fresh() is None
        found = shipped.load(weights)
        other = found.tensors | {"intents.bias": found.tensors["intents.bias"] + 1}
        shipped.save(weights, other, {**found.record, "intents": ["purchase", "return", "none"]})
        came: list[Weights] = []

        def arrived() -> bool:
            came.extend(filter(None, [brain.fresh()]))
            return bool(came)

        assert wait_until(arrived, timeout_s=50)
    (fresh,) = came
    assert fresh.space == brain.space
    assert fresh.encoder.encode(fresh.encoder.tokenize(["w1"])).intent_names == ("purchase", "return", "none")


def test_heads_do_not_change_the_space_of_the_vectors(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    trained = write_trained(tmp_path / "weights")
    settings = EncoderSettings(model=str(tmp_path / "model"), weights=trained, device="cpu")
    before = describe(settings, tmp_path)
    found = shipped.load(trained)
    assert before["weights"] == found.hashes
    shipped.save(trained, found.tensors | {"intents.bias": found.tensors["intents.bias"] + 1}, found.record)
    heads = describe(settings, tmp_path)
    shipped.save(trained, found.tensors | {"whitening.mean": found.tensors["whitening.mean"] + 1}, found.record)
    vectors = describe(settings, tmp_path)
    assert len({one["revision"] for one in (before, heads, vectors)}) == 3
    assert before["vector_space"] == heads["vector_space"] != vectors["vector_space"]
