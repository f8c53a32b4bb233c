"""`produce synthetic` and `schema`: where their files go, and what is said of places that are none."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline.commands import contracts, produce
from pipeline.errors import ConfigurationError


def run(*arguments: object) -> Result:
    app = typer.Typer()
    produce.register(app)
    contracts.register(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_truth_does_not_go_where_the_posts_go(tmp_path: Path) -> None:
    out = tmp_path / "truth.jsonl"
    result = run("produce", "synthetic", "--posts", 50, "--out", out)
    assert isinstance(result.exception, ConfigurationError)
    assert f"--truth: {out} is where the posts go; name another file" in str(result.exception)
    assert not out.exists()


@pytest.mark.parametrize("start", ["2000-01-01", "2005-01-01"])
def test_a_world_of_long_ago_can_be_made(tmp_path: Path, start: str) -> None:
    assert run("produce", "synthetic", "--posts", 50, "--start", start, "--out", tmp_path / "posts.jsonl").exit_code == 0


def test_schemas_go_into_a_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    result = run("schema", "--out", tmp_path / "file")
    assert isinstance(result.exception, ConfigurationError)
    assert run("schema", "--out", tmp_path / "folder").exit_code == 0
    assert (tmp_path / "folder" / "posts.schema.json").is_file()
