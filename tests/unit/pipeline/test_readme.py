import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from pipeline import commands

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def verbs() -> set[str]:
    app = typer.Typer()
    commands.register_all(app)
    return set(get_command(app).commands)  # type: ignore[attr-defined]


def test_every_verb_that_the_readme_shows_exists() -> None:
    shown = set(re.findall(r"groundswell ([a-z]+)\b", README))
    assert {"produce", "user", "doctor"} <= shown
    assert shown <= verbs()


def test_every_make_target_that_the_readme_shows_exists() -> None:
    shown = set(re.findall(r"`?make ([a-z]+)`?", README))
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, flags=re.MULTILINE))
    assert {"demo", "up", "test"} <= shown <= targets


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", README))
def test_every_link_leads_somewhere(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_tree_names_what_stands_there() -> None:
    tree = README.partition("## The tree")[2].partition("\n## ")[0]
    for name in re.findall(r"^    (\w+)/", tree, flags=re.MULTILINE):
        assert (ROOT / name).is_dir()


@pytest.mark.parametrize(
    "path", re.findall(r"`((?:tests|workers)/[\w/.]+)`", (ROOT / "docs" / "guarantees.md").read_text("utf-8"))
)
def test_every_test_that_the_guarantees_name_exists(path: str) -> None:
    assert (ROOT / path).is_file()
