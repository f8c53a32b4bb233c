"""What the documents show exists: commands with their options, make targets, settings, benchmarks, links, files, folders."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from pipeline import commands
from pipeline.environment import is_setting

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in DOCUMENTS}


def code(text: str) -> Iterator[str]:
    """Yield what stands between backticks, and the indented lines with those that a backslash joins to them."""
    yield from re.findall(r"`([^`\n]+)`", text)
    yield from re.findall(r"^    (.+)$", text.replace("\\\n", " "), flags=re.MULTILINE)


def shown(pattern: str) -> list[tuple[str, str]]:
    """Return (document, match) of each match in code."""
    return sorted({(name, found) for name, text in TEXTS.items() for each in code(text) for found in re.findall(pattern, each)})


def options_of(words: list[str]) -> set[str]:
    """Return the options of a command; raises KeyError where there is no such verb."""
    app = typer.Typer()
    commands.register_all(app)
    command: Any = get_command(app)
    for word in words:
        if not hasattr(command, "commands"):
            break
        command = command.commands[word]
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize(("document", "command"), shown(r"(?:^|[ /])groundswell ((?:[a-z]+ ?)+.*)"))
def test_every_command_and_every_option_exists(document: str, command: str) -> None:
    words = re.match(r"(?:[a-z]+ ?)+", command)
    assert words is not None
    assert set(re.findall(r"(?<![\w-])--[a-z-]+", command)) <= options_of(words[0].split())


@pytest.mark.parametrize(("document", "name"), shown(r"GROUNDSWELL_[A-Z_]+[A-Z]"))
def test_every_setting_exists(document: str, name: str) -> None:
    assert is_setting(name) or name.endswith("_STACK")


@pytest.mark.parametrize(("document", "name"), shown(r"benchmarks\.[a-z]\w*"))
def test_every_benchmark_exists(document: str, name: str) -> None:
    assert find_spec(name) is not None


@pytest.mark.parametrize(
    ("document", "path"),
    [(name, path) for name, text in TEXTS.items() for path in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)],
)
def test_every_link_leads_somewhere(document: str, path: str) -> None:
    assert ((ROOT / document).parent / path).exists()


@pytest.mark.parametrize(("document", "path"), shown(r"(?:tests|workers|pipeline|infra|examples)/[\w/]+\.\w+"))
def test_every_file_exists(document: str, path: str) -> None:
    assert (ROOT / path).is_file()


def test_every_make_target_that_the_readme_shows_exists() -> None:
    shown_targets = set(re.findall(r"`?make ([a-z]+)`?", TEXTS["README.md"]))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
    assert {"demo", "up", "test"} <= shown_targets <= targets


def test_the_tree_names_what_stands_there() -> None:
    tree = TEXTS["README.md"].partition("## The tree")[2].partition("\n## ")[0]
    for name in re.findall(r"^    (\w+)/", tree, flags=re.MULTILINE):
        assert (ROOT / name).is_dir()
