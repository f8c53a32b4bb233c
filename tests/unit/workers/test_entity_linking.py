from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.entities import Entity, codes
from pipeline.errors import ConfigurationError
from workers.entity_linking import EntityLinker, load_dictionary, shipped_dictionary


@pytest.fixture(scope="module")
def linker() -> EntityLinker:
    return EntityLinker(shipped_dictionary())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Apple beats, microsoft falls", ("AAPL", "MSFT")),
        ("an apple a day", ()),
        ("茅台跌停，宁德时代大涨", ("600519.SH", "300750.SZ")),
        ("京东方不是京东", ("000725.SZ", "JD")),
        ("$GOOGL and Google are one", ("GOOG",)),
        ("AT&T and JPMorgan Chase, then $T again", ("T", "JPM")),
        ("Bank of China is not Bank of America", ("601988.SH", "BAC")),
        ("SH600519 is 贵州茅台", ("600519.SH",)),
        ("nvidianess teslas", ()),
        ("$NEWCO is unknown to the dictionary", ("NEWCO",)),
        ("nobody here", ()),
        ("", ()),
    ],
)
def test_texts_are_linked(linker: EntityLinker, text: str, expected: tuple[str, ...]) -> None:
    assert linker.link(text) == expected


def test_symbols_of_a_source_are_brought_to_the_dictionarys(linker: EntityLinker) -> None:
    assert [linker.symbol(s) for s in ("$googl", "FB", "unknown", "aapl")] == ["GOOG", "META", "unknown", "AAPL"]


def test_the_shipped_dictionary_is_large_and_bilingual() -> None:
    entities = shipped_dictionary()
    assert len(entities) >= 120
    chinese = [e for e in entities if any("\u4e00" <= char <= "\u9fff" for alias in e.aliases for char in alias)]
    assert len(chinese) >= 100


def test_an_empty_dictionary_still_finds_cashtags() -> None:
    assert EntityLinker([]).link("$AAPL and Apple") == ("AAPL",)


@given(st.text(max_size=200))
def test_any_text_is_linked_to_what_it_names_each_once(text: str) -> None:
    linker = EntityLinker([Entity("A", "İstanbul"), Entity("B", "ss")])
    found = linker.link(text)
    assert len(set(found)) == len(found)
    assert set(found) <= {"A", "B"} | {mention.symbol for mention in codes(text, {})}
    assert linker.link(f"İstanbul {text}")[0] == "A"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- {symbol: 'A', name: 'Alpha', color: red}", r"0\.color = 'red'.*quote symbols"),
        ("- {symbol: 'A'}", r"0\.name"),
        ("- {symbol: NO, name: 'Norway'}", r"0\.symbol = False"),
        ("- {symbol: 'A', name: 'x'}", r"0\.name = 'x'.*at least 2"),
        ("just text", "the file = 'just text'"),
        ("", "the file = None"),
        ("- [", "cannot be read as YAML"),
    ],
)
def test_a_wrong_dictionary_is_refused_with_place_and_fix(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content, "utf-8")
    with pytest.raises(ConfigurationError, match=message):
        load_dictionary(path)


def test_a_dictionary_of_ones_own_is_used(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("- {symbol: 'ACME', name: 'Acme Corp', aliases: ['顶点公司']}", "utf-8")
    assert EntityLinker(load_dictionary(path)).link("顶点公司 and acme corp") == ("ACME",)


def test_a_missing_dictionary_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml cannot be read"):
        load_dictionary(tmp_path / "none.yaml")
