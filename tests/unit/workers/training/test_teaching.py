"""What teachers say of texts, from a tiny transformer that learns to a recipe that reads it."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.commands.train import teach as teach_command
from pipeline.core.text import content_key
from pipeline.errors import ConfigurationError, ModelError
from pipeline.settings import Settings
from tests.unit.workers.tiny_model import POSITIONS, write_model
from tests.unit.workers.training.test_refit import RECIPE, rows, write
from workers.encoder import SENTIMENTS
from workers.training.config import DataSet, read_config
from workers.training.data import Prepared, prepared
from workers.training.run_teaching import Plan, _folds, teach
from workers.training.teacher import Course, TeacherTokenizer
from workers.training.teaching import read_taught, taught_hashes, with_teachers, write_taught

QUIET = (lambda *_: None, lambda _: None)
TEXTS = ["one", "two", "one"]
COURSE = Course(epochs=4, rate=1e-3, batch_tokens=256, max_tokens=32)


@pytest.fixture
def taught(tmp_path: Path) -> Path:
    path = tmp_path / "taught" / "set.jsonl.gz"
    write_taught(path, TEXTS, np.array([[0.7, 0.2, 0.1], [0, 0, 1], [0.6, 0.3, 0.1]], dtype=np.float32))
    return path


def test_what_was_written_is_read_by_text_and_no_text_is_in_it(taught: Path) -> None:
    lines = gzip.decompress(taught.read_bytes()).decode().splitlines()
    assert [json.loads(line)["content_key"] for line in lines] == [content_key(text).hex()[:16] for text in ("one", "two")]
    found = read_taught(taught, ["two", "one"])
    assert found.dtype == np.float32
    assert np.allclose(found, np.array([[0, 0, 1], [0.6, 0.3, 0.1]]), atol=1e-5)


def test_a_file_of_other_texts_is_refused_with_the_way_out(taught: Path) -> None:
    with pytest.raises(
        ConfigurationError, match="no row for 2 of 3 training texts; it is of other texts, run `groundswell teach`"
    ):
        read_taught(taught, ["one", "three", "four"])


def test_a_text_without_a_row_has_its_label_alone(taught: Path) -> None:
    config = DataSet(name="a", task="sentiment", train="a.jsonl", share=1)
    says, classes, even = read_taught(taught, ["one", "two", "three"]), np.array([0, 2, 1]), np.ones(3, np.float32)
    three = Prepared(config, [np.array([1], np.int32)] * 3, classes, SENTIMENTS, even, [], classes[:0], taught=says)
    assert np.allclose(three.targets(0.5), np.array([[0.8, 0.15, 0.05], [0, 0, 1], [0, 1, 0]]), atol=1e-5)
    assert three.size == "a 3 texts, 2 of them taught"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"negative": 1, "neutral": 0}, "set.jsonl line 1: content_key, positive is missing"),
        ({"content_key": "a", "negative": 1, "neutral": 1, "positive": 0}, "do not add up to 1"),
        ({"content_key": "a", "negative": "1", "neutral": 0, "positive": 0}, "a number between 0 and 1"),
        ({"content_key": "a", "negative": float("nan"), "neutral": 0, "positive": 1}, "a number between 0 and 1"),
        ({"content_key": "a", "negative": True, "neutral": 0, "positive": 0}, "a number between 0 and 1"),
    ],
)
def test_a_row_that_is_no_probabilities_is_named_with_its_line(tmp_path: Path, row: dict[str, object], said: str) -> None:
    write(tmp_path / "set.jsonl", [row])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match=said):
        read_taught(tmp_path / "set.jsonl", ["one"])


def test_an_absent_file_is_named_before_any_work(tmp_path: Path) -> None:
    named = DataSet(name="a", task="sentiment", train="a.jsonl", share=1, taught="taught/a.jsonl.gz")
    with pytest.raises(ConfigurationError, match=r"taught: taught/a.jsonl.gz: no such file in .*`groundswell teach` writes them"):
        taught_hashes([named], tmp_path)


def test_a_teacher_of_intents_is_refused(tmp_path: Path) -> None:
    text = RECIPE.replace("train: absent.jsonl", "train: absent.jsonl, taught: taught/a.jsonl.gz")
    (tmp_path / "recipe.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match="a teacher speaks of sentiment; leave it out of an intent set"):
        read_config(tmp_path / "recipe.yaml")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    write_model(tmp_path / "teacher")
    write(tmp_path / "train.jsonl", rows(240, 1))
    write(tmp_path / "dev.jsonl", rows(30, 2))
    write(tmp_path / "more.jsonl", rows(6, 3))
    (tmp_path / "recipe.yaml").write_text(RECIPE, "utf-8")
    return Settings().model_copy(update={"data": tmp_path})


def plan_of(tmp_path: Path, *names: str) -> Plan:
    return Plan(tmp_path / "teacher", names, COURSE)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_teacher_reads_texts_it_was_kept_from_and_a_recipe_takes_its_word(tmp_path: Path, settings: Settings) -> None:
    scores = teach(tmp_path / "recipe.yaml", plan_of(tmp_path, "talk"), settings, tmp_path / "out", QUIET)
    assert scores["talk, kept away"]["n"] == 240
    assert scores["talk, kept away"]["accuracy"] > 0.9
    assert scores["talk, dev"]["accuracy"] > 0.9
    text = (tmp_path / "recipe.yaml").read_text("utf-8").replace("kind: talk,", "kind: talk, taught: out/talk.jsonl.gz,")
    (tmp_path / "taught.yaml").write_text(text, "utf-8")
    config = read_config(tmp_path / "taught.yaml").model_copy(update={"device": "cpu"})
    config = config.model_copy(update={"data": config.data[:2]})
    assert list(taught_hashes(config.data, tmp_path)) == ["out/talk.jsonl.gz"]
    talk, more = with_teachers(prepared(config, tmp_path, TeacherTokenizer(tmp_path / "teacher", 32)), tmp_path)
    assert more.taught is None
    assert talk.taught is not None
    targets = talk.targets(0.75)
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-4)
    np.testing.assert_allclose(targets, 0.25 * np.eye(3)[talk.classes] + 0.75 * talk.taught, atol=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_killed_call_goes_on_after_its_last_fold_and_says_the_same(tmp_path: Path, settings: Settings) -> None:
    recipe, plan = tmp_path / "recipe.yaml", plan_of(tmp_path, "talk")
    whole = teach(recipe, plan, settings, tmp_path / "whole", QUIET)

    def stop(text: str) -> None:
        if text.startswith("fold 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teach(recipe, plan, settings, tmp_path / "killed", (QUIET[0], stop))
    kept = tmp_path / "killed" / "fold-0.safetensors"
    before = kept.stat().st_mtime_ns
    assert teach(recipe, plan, settings, tmp_path / "killed", QUIET) == whole
    assert kept.stat().st_mtime_ns == before
    one, other = (tmp_path / folder / "talk.jsonl.gz" for folder in ("whole", "killed"))
    assert one.read_bytes() == other.read_bytes()
    with pytest.raises(ConfigurationError, match="holds a run with another .*course/epochs"):
        teach(recipe, Plan(plan.teacher, plan.names, Course(epochs=1)), settings, tmp_path / "killed", QUIET)


def test_a_wrong_name_and_a_folder_without_a_model_are_refused(tmp_path: Path, settings: Settings) -> None:
    recipe = tmp_path / "recipe.yaml"
    with pytest.raises(ConfigurationError, match="--set asks: no sentiment set of the recipe; choose from talk, more"):
        teach(recipe, plan_of(tmp_path, "asks"), settings, tmp_path / "out", QUIET)
    for absent, said in (
        ("config.json", "no teacher that transformers can read"),
        ("tokenizer.json", "no tokenizer that can be read"),
    ):
        (tmp_path / "teacher" / absent).unlink()
        with pytest.raises(ModelError, match=said):
            teach(recipe, plan_of(tmp_path), settings, tmp_path / "out", QUIET)


def test_a_broken_teacher_and_a_device_that_is_none_are_refused_before_the_folder_is_claimed(
    tmp_path: Path, settings: Settings
) -> None:
    recipe = tmp_path / "recipe.yaml"
    weights = tmp_path / "teacher" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read .*; fetch the teacher again"):
        teach(recipe, plan_of(tmp_path), settings, tmp_path / "out", QUIET)
    recipe.write_text(recipe.read_text("utf-8") + "device: gpu\n", "utf-8")
    with pytest.raises(ConfigurationError, match="^device = 'gpu' is no device"):
        teach(recipe, plan_of(tmp_path), settings, tmp_path / "out", QUIET)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rate", [0.0, -1e-4, 2.0, float("nan"), float("inf")])
def test_a_rate_that_teaches_nothing_is_refused(tmp_path: Path, rate: float) -> None:
    with pytest.raises(ConfigurationError, match="--rate = .*; a learning rate is above 0 and at most 1"):
        teach_command(tmp_path / "recipe.yaml", tmp_path / "teacher", tmp_path / "out", rate=rate)


def test_a_text_is_cut_where_the_teacher_has_no_more_positions(tmp_path: Path) -> None:
    folder, long = write_model(tmp_path / "teacher"), " ".join(["w1"] * 300)
    assert [len(TeacherTokenizer(folder, limit)([long])[0]) for limit in (32, 160)] == [32, POSITIONS - 2]
    (folder / "config.json").write_text("{}", "utf-8")
    with pytest.raises(ModelError, match="no teacher that transformers can read .*max_position_embeddings"):
        TeacherTokenizer(folder, 32)


def test_copies_of_a_post_share_a_fold_in_one_set_and_across_sets() -> None:
    texts = [f"post {number}" for number in range(60)]
    others = [f"another {number}" for number in range(40)]
    one, other = _folds([[*texts, *(text.upper() for text in texts)], [*others, *(f"@user {text}!" for text in texts)]], COURSE)
    assert set(one.tolist()) == {0, 1, 2}
    assert one[:60].tolist() == one[60:].tolist() == other[40:].tolist()
