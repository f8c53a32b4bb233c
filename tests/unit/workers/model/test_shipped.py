import json
import shutil
from pathlib import Path

import pytest
import torch

from pipeline.adapters.files import sha256_of
from pipeline.errors import ConfigurationError, ModelError
from pipeline.settings import EncoderSettings
from tests.unit.workers.tiny_model import write_trained
from workers.model import shipped
from workers.model.describe import cut_off_of
from workers.model.revisions import revision_of


def test_tensors_come_back_by_part(tmp_path: Path) -> None:
    tensors = {"adapter.encoder.layer.3.x.down": torch.ones(2, 3), "whitening.mean": torch.zeros(4)}
    shipped.save(tmp_path / "w", tensors, {"name": "n"})
    found = shipped.load(tmp_path / "w")
    assert set(found.hashes) == {"adapter-03.safetensors", "whitening.safetensors"}
    assert torch.equal(found.part("adapter")["encoder.layer.3.x.down"], torch.ones(2, 3))
    assert found.part("sentiment") == {}


def test_a_missing_and_an_altered_file_are_named(tmp_path: Path) -> None:
    folder = write_trained(tmp_path / "w")
    (folder / "intents.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"intents\.safetensors was altered: .* GROUNDSWELL_ENCODER__WEIGHTS"):
        shipped.load(folder)
    (folder / "intents.safetensors").unlink()
    with pytest.raises(ModelError, match=r"intents\.safetensors is missing"):
        shipped.load(folder)


def test_weights_replace_weights_and_never_what_is_something_else(tmp_path: Path) -> None:
    for name in ("new", "empty", "new"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        shipped.save(tmp_path / name, {"whitening.mean": torch.zeros(4)}, {"name": "n"})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("dear", "utf-8")
    for name in ("mine", "mine/notes.txt"):
        with pytest.raises(ConfigurationError, match="holds something else than weights"):
            shipped.save(tmp_path / name, {"whitening.mean": torch.zeros(4)}, {"name": "n"})
    assert (tmp_path / "mine" / "notes.txt").read_text("utf-8") == "dear"


@pytest.mark.parametrize("folder", [".", "../here", ".."])
def test_weights_never_take_the_place_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ConfigurationError, match="is the folder you work in"):
        shipped.save(Path(folder), {"whitening.mean": torch.zeros(4)}, {"name": "n"})
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


def test_a_file_of_another_kind_is_refused_though_its_hash_is_right(tmp_path: Path) -> None:
    folder = write_trained(tmp_path / "w")
    (folder / "intents.safetensors").write_bytes(b"no safetensors")
    record = json.loads((folder / "record.json").read_text("utf-8"))
    record["files"]["intents.safetensors"] = sha256_of(folder / "intents.safetensors")
    (folder / "record.json").write_text(json.dumps(record), "utf-8")
    with pytest.raises(ModelError, match=r"intents\.safetensors cannot be read .*GROUNDSWELL_ENCODER__WEIGHTS"):
        shipped.load(folder)


@pytest.mark.parametrize("names", [None, "buy", [1]])
def test_intents_without_names_are_refused(tmp_path: Path, names: object) -> None:
    found = shipped.load(write_trained(tmp_path / "w"))
    nameless = shipped.Shipped(found.tensors, found.record | {"intents": names})
    with pytest.raises(ModelError, match=r"record\.json: intents = "):
        _ = nameless.identity


@pytest.mark.parametrize("record", ["", "{}", "[]", '{"files": {}}', '{"files": {}, "name": 5}'])
def test_a_record_that_vouches_for_nothing_is_refused(tmp_path: Path, record: str) -> None:
    (tmp_path / "record.json").write_text(record, "utf-8")
    with pytest.raises(ModelError, match=r"record\.json"):
        shipped.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("adapter-03", "adapter of 1 of 12 layers"),
        ("adapter-11", "adapter of 1 of 12 layers"),
        ("wording-social", r"wording-social\.safetensors"),
        ("whitening", r"whitening\.safetensors"),
        ("intents", r"intents\.safetensors"),
    ],
)
def test_a_file_that_the_record_no_longer_names_is_missed(tmp_path: Path, name: str, said: str) -> None:
    folder = tmp_path / "w"
    shutil.copytree(shipped.SHIPPED, folder)
    record = json.loads((folder / "record.json").read_text("utf-8"))
    del record["files"][f"{name}.safetensors"]
    (folder / "record.json").write_text(json.dumps(record), "utf-8")
    with pytest.raises(ModelError, match=rf"record\.json names no {said}, which a run of its config ships"):
        shipped.load(folder)


def test_words_that_were_fitted_anew_count_by_their_own_kinds(tmp_path: Path) -> None:
    found = shipped.load(shipped.SHIPPED)
    words = found.without("wording") | {f"wording.news.{name}": torch.ones(1) for name in ("levels", "steps")}
    shipped.save(tmp_path / "w", words, found.record | {"wording": {"kinds": {"headlines": "news", "more": None}}})
    assert set(found.hashes) - set(shipped.load(tmp_path / "w").hashes) >= {"wording-social.safetensors"}


def test_the_project_ships_weights_below_ten_megabytes_that_their_record_vouches_for() -> None:
    found = shipped.load(shipped.SHIPPED)
    files = [path for path in shipped.SHIPPED.iterdir() if path.suffix == ".safetensors"]
    assert {path.name for path in files} == set(found.hashes)
    assert sum(path.stat().st_size for path in files) < 10_000_000
    assert max(path.stat().st_size for path in files) < 1_000_000
    assert json.loads((shipped.SHIPPED / "record.json").read_text("utf-8"))["data"]


def test_the_cut_off_of_training_data_is_known_by_the_revision_of_the_weights_alone() -> None:
    settings = EncoderSettings()
    trained = shipped.load(shipped.SHIPPED)
    files = trained.record["base"]["files"] | trained.identity
    for mode in ("int8", "bf16"):
        revision = revision_of(files, trained.record["name"], mode, settings.max_tokens)
        assert cut_off_of(revision, settings) == trained.record["data_cut_off"]
    assert cut_off_of("joint-int8-000000000000", settings) is None
