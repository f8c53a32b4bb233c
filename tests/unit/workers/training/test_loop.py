import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.adapters.files import sha256_of
from pipeline.errors import ConfigurationError, ModelError
from pipeline.settings import EncoderSettings, Settings
from tests.unit.workers.tiny_model import RECIPE, write_model
from workers.model import shipped
from workers.model.transformer import load_encoder
from workers.training.config import Augment, TrainConfig, read_config
from workers.training.run import DEFAULT_INTENTS, run
from workers.training.starting import prototypes
from workers.training.trial import Arms, tried

pytestmark = pytest.mark.timeout(300)  # a dozen seconds of arithmetic, on a machine that may be busy
INTENTS = "intents: {buy: [w1 w2, w1 w3, w1 w4], sell: [w5 w6, w5 w7, w5 w8], keep: [w11 w12, w11 w13]}\nnone: [w9 w10, w9 w11]\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_model(tmp_path / "model")
    draw = np.random.default_rng(0)
    words = {"negative": 20, "neutral": 60, "positive": 100, "first": 140, "second": 170}

    def write(name: str, labels: list[str], count: int) -> None:
        lines = []
        for index in range(count):
            label = labels[index % len(labels)]
            text = " ".join(f"w{word}" for word in words[label] + draw.integers(0, 30, draw.integers(3, 9)))
            lines.append(json.dumps({"text": f"{text} w{index % 200}", "label": label}))
        (tmp_path / name).write_text("\n".join(lines), "utf-8")

    write("three.jsonl", ["negative", "neutral", "positive"], 60)
    write("dev.jsonl", ["negative", "neutral", "positive"], 30)
    write("two.jsonl", ["negative", "positive"], 40)
    write("asks.jsonl", ["first", "second"], 40)
    write("asks_dev.jsonl", ["first", "second"], 10)
    (tmp_path / "intents.yaml").write_text(INTENTS, "utf-8")
    return tmp_path


def trained(
    place: Path, out: str, mode: str = "lora", steps: int = 12, more: str = "", told: list[str] | None = None
) -> shipped.Shipped:
    lines = [] if told is None else told
    return _ran(place, out, RECIPE.format(mode=mode, steps=steps) + more, lines)


def gone_on(place: Path, start: str, out: str, more: str, mode: str = "lora") -> shipped.Shipped:
    return _ran(place, out, RECIPE.format(mode=mode, steps=2) + more, [], place / start / "weights")


def _ran(place: Path, out: str, recipe: str, lines: list[str], start: Path | None = None) -> shipped.Shipped:
    (place / f"{out}.yaml").write_text(recipe, "utf-8")
    encoder = EncoderSettings(model=str(place / "model"), device="cpu")
    settings = Settings().model_copy(update={"data": place, "cache": place / "cache", "encoder": encoder})
    folder = run(place / f"{out}.yaml", place / "intents.yaml", settings, place / out, (lambda *_: None, lines.append), start)
    return shipped.load(folder)


@pytest.mark.slow
def test_training_lowers_the_loss_and_ships_what_the_encoder_loads(place: Path) -> None:
    found = trained(place, "a", steps=40)
    assert found.record["dev"]["three"]["accuracy"] > 0.8
    assert found.record["intents"] == ["buy", "keep", "sell", "none"]
    assert found.record["intent_examples"] == sha256_of(place / "intents.yaml")
    assert set(found.record["data"]) == {"three.jsonl", "dev.jsonl", "two.jsonl", "asks.jsonl", "asks_dev.jsonl"}
    encoder = load_encoder(EncoderSettings(model=str(place / "model"), weights=place / "a" / "weights", device="cpu"), place)
    answers = encoder.encode(encoder.tokenize(["w20 w25 w30", "w100 w110 w120"]))
    assert answers.sentiment.argmax(1).tolist() == [0, 2]


def test_the_shipped_recipe_loses_few_steps_when_it_is_killed() -> None:
    config = read_config(DEFAULT_INTENTS.with_name("joint.yaml"))
    assert config.checkpoint_every <= config.steps / 40


@pytest.mark.slow
@pytest.mark.parametrize("every", [3, 100])
def test_a_run_that_was_cut_off_ends_in_the_same_weights(place: Path, monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    monkeypatch.setattr("tests.unit.workers.training.test_loop.RECIPE", RECIPE.replace("every: 3", f"every: {every}"))
    whole = trained(place, "whole")
    from workers.training import loop

    step = loop._step

    def cut(*arguments: object) -> dict[str, torch.Tensor]:
        if arguments[-1] == 8:
            raise KeyboardInterrupt
        return step(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_step", cut)
        with pytest.raises(KeyboardInterrupt):
            trained(place, "cut")
    assert json.loads((place / "cut" / "last" / "progress.json").read_text("utf-8"))["step"] == (6 if every == 3 else 4)
    assert not (place / "cut" / "weights").exists()
    resumed = trained(place, "cut")
    for name, tensor in whole.tensors.items():
        torch.testing.assert_close(resumed.tensors[name], tensor, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_every_mode_ships_weights_that_load(place: Path, mode: str) -> None:
    found = trained(place, mode, mode, steps=4)
    assert bool(found.part("adapter")) == (mode == "full")
    load_encoder(EncoderSettings(model=str(place / "model"), weights=place / mode / "weights", device="cpu"), place)


@pytest.mark.slow
def test_a_run_may_ask_two_passes_over_a_text_to_agree(place: Path) -> None:
    found = trained(place, "twice", steps=4, more="consistency: 1.0\nresidual_dropout: 0.1\n")
    assert found.record["config"]["consistency"] == 1.0
    load_encoder(EncoderSettings(model=str(place / "model"), weights=place / "twice" / "weights", device="cpu"), place)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_share_of_what_was_learned_goes_back_to_the_base(place: Path, mode: str) -> None:
    whole, half = (trained(place, f"keep-{keep}", mode, steps=3, more=f"keep: {keep}\n").part("adapter") for keep in (1.0, 0.5))
    base = load_file(place / "model" / "model.safetensors")
    name = next(name for name in whole if name.endswith("attention.output.dense.up" if mode == "lora" else "output.dense.weight"))
    before = torch.zeros_like(whole[name]) if mode == "lora" else base[name].half()
    assert not torch.equal(whole[name], before)
    torch.testing.assert_close(half[name].float(), (whole[name].float() + before.float()) / 2, atol=1e-3, rtol=1e-2)


STILL = "trunk_rate: 0\nhead_rate: 0\n"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_run_goes_on_from_published_weights(place: Path, mode: str) -> None:
    before = trained(place, "a", mode, steps=40)
    after = gone_on(place, "a", "b", STILL, mode)
    for name, value in before.part("adapter").items():
        torch.testing.assert_close(after.part("adapter")[name], value, rtol=1e-3, atol=1e-6)
    for name, value in before.part("sentiment").items():
        assert name == "cooling" or torch.equal(after.part("sentiment")[name], value)
    # The intents' prototypes are not published, so that they are what the trunk makes of the intents' own texts.
    assert after.record["dev"]["asks"]["accuracy"] >= 0.8
    assert after.record["start"] == before.hashes


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_to_the_weights_it_began_from(place: Path) -> None:
    trained(place, "a", steps=2)
    trained(place, "b", steps=2, more="seed: 8\n")
    gone_on(place, "a", "c", "")
    with pytest.raises(ConfigurationError, match=r"c holds a run with another start/adapter"):
        gone_on(place, "b", "c", "")
    with pytest.raises(ConfigurationError, match=r"c holds a run with another start/adapter"):
        trained(place, "c", steps=2)


@pytest.mark.slow
def test_weights_of_another_shape_are_no_start(place: Path) -> None:
    trained(place, "a", steps=2)
    for other, more in (("rank", "lora: {rank: 8, alpha: 8, layers: 1}\n"), ("layers", "lora: {rank: 4, alpha: 8, layers: 2}\n")):
        recipe = RECIPE.replace("lora: {{rank: 4, alpha: 8, layers: 1}}\n", "").format(mode="lora", steps=2) + more
        with pytest.raises(ConfigurationError, match="--start: the weights of tiny have another mode, rank or number of tuned"):
            _ran(place, other, recipe, [], place / "a" / "weights")
        assert not (place / other).exists()
    with pytest.raises(ConfigurationError, match="--start"):
        gone_on(place, "a", "mode", "", "full")


def test_a_prototype_is_the_mean_direction_of_its_class() -> None:
    found = prototypes(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), np.array([0, 0, 1]))
    torch.testing.assert_close(found, torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, -1.0]]))


AUGMENT = "augment: {trial_steps: 3, share: 0.5}\n"


@pytest.mark.slow
@pytest.mark.parametrize("gain", [0.1, 0.0])
def test_augmentation_stays_on_only_where_dev_gains_and_the_record_says_so(
    place: Path, monkeypatch: pytest.MonkeyPatch, gain: float
) -> None:
    from workers.training import loop, trial

    arms: list[bool] = []

    def score(arms_: object, augment: object, steps: int, folder: Path) -> float:
        (folder / "last").mkdir(parents=True)
        arms.append(augment is not None)
        return 0.5 + (gain if augment else 0.0)

    augmented: list[bool] = []
    step = loop._step

    def noted(config: TrainConfig, *arguments: Any) -> dict[str, torch.Tensor]:
        augmented.append(config.augment is not None)
        return step(config, *arguments)

    monkeypatch.setattr(trial, "_score", score)
    monkeypatch.setattr(loop, "_step", noted)
    told: list[str] = []
    found = trained(place, "a", steps=2, more=AUGMENT, told=told)
    assert arms == [False, True]
    assert found.record["augment"] == {"steps": 3, "without": 0.5, "with": 0.5 + gain, "on": gain > 0}
    assert found.record["config"]["augment"]["trial_steps"] == 3
    assert augmented == [gain > 0] * 2
    assert any(line.startswith("augmentation: dev 50.00 without") for line in told)
    assert sorted(path.name for path in (place / "a").iterdir() if path.is_dir()) == ["best", "curves", "last", "weights"]


@pytest.mark.slow
def test_a_trial_is_repeatable_and_changes_what_the_model_sees(place: Path) -> None:
    first, again = trained(place, "a", steps=2, more=AUGMENT), trained(place, "b", steps=2, more=AUGMENT)
    assert first.record["augment"] == again.record["augment"]
    for name, tensor in first.tensors.items():
        assert torch.equal(again.tensors[name], tensor), name


@pytest.mark.slow
def test_a_run_ends_where_dev_no_longer_rises_and_says_so(place: Path) -> None:
    more = "head_rate: 0.0\npatience: 1\n"
    (place / "r.yaml").write_text(RECIPE.format(mode="frozen", steps=400) + more, "utf-8")
    settings = Settings(data=place, cache=place, encoder=EncoderSettings(model=str(place / "model"), device="cpu"))
    shown: list[int] = []
    told: list[str] = []
    tellers = (lambda step, *_: shown.append(step), told.append)
    found = shipped.load(run(place / "r.yaml", place / "intents.yaml", settings, place / "out", tellers))
    assert (found.record["steps"], found.record["best_step"]) == (8, 4)
    assert max(shown) == 8
    assert "ended after step 8; the best weights are those of step 4; measuring them on all dev texts" in told


@pytest.mark.slow
def test_without_any_dev_file_the_last_weights_count_and_augmentation_is_refused(place: Path) -> None:
    recipe = RECIPE.format(mode="lora", steps=5).replace(", dev: dev.jsonl", "").replace(", dev: asks_dev.jsonl", "")
    (place / "r.yaml").write_text(recipe, "utf-8")
    settings = Settings(data=place, cache=place, encoder=EncoderSettings(model=str(place / "model"), device="cpu"))
    silent = (lambda *_: None, lambda _: None)
    found = shipped.load(run(place / "r.yaml", place / "intents.yaml", settings, place / "out", silent))
    assert (found.record["steps"], found.record["best_step"], found.record["dev"]) == (5, 5, {})
    (place / "r.yaml").write_text(recipe + AUGMENT, "utf-8")
    with pytest.raises(ConfigurationError, match="no data set has a dev file"):
        run(place / "r.yaml", place / "intents.yaml", settings, place / "other", silent)


@pytest.mark.parametrize("content", ["", "{}", "[]"])
def test_a_broken_verdict_on_augmentation_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "trial.json").write_text(content, "utf-8")
    with pytest.raises(ConfigurationError, match=r"trial\.json cannot be read .*; remove it, and the trial is made again"):
        tried(cast("Arms", None), Augment(trial_steps=1), tmp_path)


def test_a_folder_that_stands_where_the_weights_will_go_is_refused_before_any_step(place: Path) -> None:
    (place / "mine" / "weights").mkdir(parents=True)
    (place / "mine" / "weights" / "notes.txt").write_text("dear", "utf-8")
    with pytest.raises(ConfigurationError, match="weights holds something else than weights"):
        trained(place, "mine")
    assert [path.name for path in (place / "mine").rglob("*")] == ["weights", "notes.txt"]


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_more_layers_than_the_base_has_are_refused_before_any_step(place: Path, mode: str) -> None:
    (place / "deep.yaml").write_text(RECIPE.format(mode=mode, steps=1).replace("layers: 1", "layers: 3"), "utf-8")
    settings = Settings(data=place, cache=place, encoder=EncoderSettings(model=str(place / "model"), device="cpu"))
    with pytest.raises(ConfigurationError, match=r"lora\.layers = 3; the base model has 2 layers"):
        run(place / "deep.yaml", place / "intents.yaml", settings, place / "deep", (lambda *_: None, lambda _: None))
    assert not (place / "deep").exists()


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_run(place: Path) -> None:
    with pytest.raises(ModelError, match=r"the loss of step \d+ is (nan|inf)"):
        trained(place, "a", steps=12, more="trunk_rate: 1.0e+30\nhead_rate: 1.0e+30\nwarm_up: 0\n")
    assert not (place / "a" / "weights").exists()


@pytest.mark.parametrize("device", ["gpu", "mps", "meta", "cpu:3", "cuda:x", "cuda:999"])
def test_a_recipe_names_a_device_of_this_machine_before_its_folder_is_claimed(place: Path, device: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^device = '{device}'"):
        trained(place, "a", more=f"device: {device}\n")
    assert not (place / "a").exists()
