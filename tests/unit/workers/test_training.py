import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.errors import ConfigurationError, ModelError
from pipeline.settings import EncoderSettings, Settings
from tests.unit.workers.tiny_model import write_model
from workers import shipped
from workers.calibration import Evidence, fit_cooling, log_loss
from workers.claim import claim
from workers.heads import temperature
from workers.publishing import sha256_of
from workers.run_training import DEFAULT_INTENTS, run
from workers.sampling import batches
from workers.training_config import Augment, TrainConfig, read_config
from workers.training_data import class_weights, data_hashes
from workers.transformer import load_encoder
from workers.trial import Arms, tried

pytestmark = pytest.mark.timeout(300)  # a dozen seconds of arithmetic, on a machine that may be busy
RECIPE = """
name: tiny
mode: {mode}
steps: {steps}
batch_tokens: 96
max_tokens: 32
precision: fp32
evaluate_every: 4
checkpoint_every: 3
distil_every: 2
average: 0.9
trunk_dropout: 0.1
lora: {{rank: 4, alpha: 8, layers: 1}}
data:
  - {{name: three, task: sentiment, share: 3, train: three.jsonl, dev: dev.jsonl}}
  - {{name: two, task: sentiment, share: 2, train: two.jsonl}}
  - {{name: asks, task: intent, share: 1, train: asks.jsonl, dev: asks_dev.jsonl}}
"""
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
    recipe = place / f"{out}.yaml"
    recipe.write_text(RECIPE.format(mode=mode, steps=steps) + more, "utf-8")
    encoder = EncoderSettings(model=str(place / "model"), device="cpu")
    settings = Settings().model_copy(update={"data": place, "cache": place / "cache", "encoder": encoder})
    lines = [] if told is None else told
    folder = run(recipe, place / "intents.yaml", settings, place / out, (lambda *_: None, lines.append))
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
    monkeypatch.setattr("tests.unit.workers.test_training.RECIPE", RECIPE.replace("every: 3", f"every: {every}"))
    whole = trained(place, "whole")
    from workers import training

    step = training._step

    def cut(*arguments: object) -> dict[str, torch.Tensor]:
        if arguments[-1] == 8:
            raise KeyboardInterrupt
        return step(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(training, "_step", cut)
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


AUGMENT = "augment: {trial_steps: 3, share: 0.5}\n"


@pytest.mark.slow
@pytest.mark.parametrize("gain", [0.1, 0.0])
def test_augmentation_stays_on_only_where_dev_gains_and_the_record_says_so(
    place: Path, monkeypatch: pytest.MonkeyPatch, gain: float
) -> None:
    from workers import training, trial

    arms: list[bool] = []

    def score(arms_: object, augment: object, steps: int, folder: Path) -> float:
        (folder / "last").mkdir(parents=True)
        arms.append(augment is not None)
        return 0.5 + (gain if augment else 0.0)

    augmented: list[bool] = []
    step = training._step

    def noted(config: TrainConfig, *arguments: Any) -> dict[str, torch.Tensor]:
        augmented.append(config.augment is not None)
        return step(config, *arguments)

    monkeypatch.setattr(trial, "_score", score)
    monkeypatch.setattr(training, "_step", noted)
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


def test_a_folder_of_another_run_is_refused_by_what_differs(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RECIPE.format(mode="lora", steps=12), "utf-8")
    config = read_config(tmp_path / "run.yaml")
    claim(tmp_path, config, {"data": {"a/b.jsonl": "1"}})
    claim(tmp_path, config.model_copy(update={"threads": 2}), {"data": {"a/b.jsonl": "1"}})
    with pytest.raises(ConfigurationError, match="holds a run with another mode, steps; choose another --out"):
        claim(tmp_path, config.model_copy(update={"mode": "full", "steps": 3}), {"data": {"a/b.jsonl": "1"}})
    with pytest.raises(ConfigurationError, match=r"another data/a/b\.jsonl"):
        claim(tmp_path, config, {"data": {"a/b.jsonl": "2"}})
    standing = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert (standing["config"]["seed"], standing["data"], "torch" in standing["versions"]) == (7, {"a/b.jsonl": "1"}, True)


@pytest.mark.parametrize("content", ["", "[1]", "3", "{"])
def test_a_broken_note_of_a_run_is_named_with_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.yaml").write_text(RECIPE.format(mode="lora", steps=12), "utf-8")
    (tmp_path / "run.json").write_text(content, "utf-8")
    with pytest.raises(ConfigurationError, match=r"run\.json cannot be read .*; remove .*, or choose another --out"):
        claim(tmp_path, read_config(tmp_path / "run.yaml"), {})


def test_a_run_that_goes_on_removes_what_was_half_written_when_it_was_killed(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RECIPE.format(mode="lora", steps=12), "utf-8")
    config = read_config(tmp_path / "run.yaml")
    claim(tmp_path, config, {})
    (tmp_path / ".weights.new.abcd1_23").mkdir()
    claim(tmp_path, config, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "run.yaml"]


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


def test_absent_data_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RECIPE.format(mode="lora", steps=12), "utf-8")
    (tmp_path / "three.jsonl").touch()
    with pytest.raises(ConfigurationError, match=r"data: dev\.jsonl, two\.jsonl, asks\.jsonl, asks_dev\.jsonl: no such file in"):
        data_hashes(read_config(tmp_path / "run.yaml").data, tmp_path)


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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("steps: 12", "steps: 12\ncolour: red"), "colour = 'red': unknown key"),
        (("steps: 12", "steps: 12\nstepz: 3"), "stepz = 3: unknown key; did you mean steps"),
        (("steps: 12", ""), "steps is missing"),
        (("steps: 12", "steps: 12\naugment: {share: 2}"), "augment.trial_steps is missing; augment.share = 2"),
        (("steps: 12", "steps: none"), "steps"),
        (("rank: 4", "rank: 0"), "lora.rank"),
        (("share: 3", "shares: 3"), "data.0.share is missing; data.0.shares = 3: unknown key; did you mean share"),
        (("mode: lora", "mode: magic"), "mode"),
        (("name: two", "name: three"), "data: three stands twice; give each set a name of its own"),
        (("data:", "data: ["), "cannot be read"),
        (("steps: 12", "steps: 12\ntrunk_rate: -1"), "trunk_rate = -1"),
        (("steps: 12", "steps: 12\nhead_rate: .inf"), "head_rate = inf"),
        (("steps: 12", "steps: 12\nweight_decay: -0.1"), r"weight_decay = -0\.1"),
        (("steps: 12", "steps: 12\nconsistency: .inf"), "consistency = inf"),
        (("steps: 12", "steps: 12\nseed: -1"), "seed = -1"),
        (("steps: 12", "steps: 12\nseed: 100000000000000000000"), "seed = 1"),
        (("steps: 12", "steps: 12\nthreads: 100000"), "threads = 100000"),
        (("alpha: 8", "alpha: .inf"), r"lora\.alpha = inf"),
        (("alpha: 8", "alpha: -8"), r"lora\.alpha = -8"),
        (("batch_tokens: 96", "batch_tokens: 1"), r"run\.yaml: batch_tokens = 1; a text has up to max_tokens = 32"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(RECIPE.format(mode="lora", steps=12).replace(*change), "utf-8")
    with pytest.raises(ConfigurationError, match=said):
        read_config(path)


@pytest.mark.parametrize("device", ["gpu", "mps", "meta", "cpu:3", "cuda:x", "cuda:999"])
def test_a_recipe_names_a_device_of_this_machine_before_its_folder_is_claimed(place: Path, device: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^device = '{device}'"):
        trained(place, "a", more=f"device: {device}\n")
    assert not (place / "a").exists()


def test_batches_hold_each_set_in_its_share_and_repeat_exactly() -> None:
    lengths = [np.full(1000, 10), np.full(10, 10)]
    feed = batches(lengths, [3, 1], 400, seed=1)
    picks = [pick for _ in range(100) for pick in next(feed)]
    share = sum(chosen == 0 for chosen, _ in picks) / len(picks)
    assert 0.72 < share < 0.78
    again = batches(lengths, [3, 1], 400, seed=1)
    assert [pick for _ in range(100) for pick in next(again)] == picks
    rows = [row for chosen, row in picks if chosen == 1][:10]
    assert sorted(rows) == list(range(10))


def test_class_weights_are_one_on_average_and_favour_the_rare() -> None:
    classes = np.array([0] * 90 + [1] * 10)
    weights = class_weights(classes, 3, 0.5)
    assert weights[1] == pytest.approx(3 * weights[0], rel=1e-5)
    assert float(weights[classes].mean()) == pytest.approx(1, rel=1e-5)
    assert weights[2] == 0


@pytest.mark.slow
def test_texts_that_deceive_the_head_get_a_higher_temperature_than_others() -> None:
    truth = torch.tensor([0, 2] * 100)
    logits = torch.zeros(200, 3)
    logits[torch.arange(200), truth] = 8.0
    seen = torch.zeros(200, 4)
    hard = torch.arange(200) % 4 < 2
    seen[hard, 1] = 1.0
    wrong = hard & (torch.arange(200) % 20 < 6)
    logits[wrong] = logits[wrong].flip(1)
    cooling = fit_cooling([Evidence(seen, logits, truth, two_class=False)])
    easy, deceived = temperature(torch.eye(4)[[0, 1]], cooling).squeeze(1).tolist()
    assert deceived > 2.5 > 2 * easy
    assert log_loss([Evidence(seen, logits, truth, two_class=True)], cooling) < 0.5
