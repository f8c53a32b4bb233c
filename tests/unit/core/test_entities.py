import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.entities import Alias, Entity, Mention, accept, alias_table, codes, fold, resolve, ticker_table
from pipeline.errors import ConfigurationError


def symbols(text: str, tickers: dict[str, str] | None = None) -> list[str]:
    return [mention.symbol for mention in codes(text, tickers or {})]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$AAPL and $tsla up", ["AAPL", "TSLA"]),
        ("($BRK-B) $BRK.B", ["BRK.B", "BRK.B"]),
        ("$BTC.X to the moon", ["BTC"]),
        ("$AAPL's report, $AAPL.", ["AAPL", "AAPL"]),
        ("买入$AAPL赚了", ["AAPL"]),
        ("SH600519 600519.SH 600519.ss sz000001 $SZ300750", ["600519.SH", "600519.SH", "600519.SH", "000001.SZ", "300750.SZ"]),
        ("SH:600000 and sh.600000", ["600000.SH", "600000.SH"]),
        ("0700.HK 00700.hk $700.HK 9988.HK", ["0700.HK", "0700.HK", "0700.HK", "9988.HK"]),
        ("$贵州茅台(SH600519)$ $阿里巴巴(BABA)$ $腾讯控股(00700)$", ["600519.SH", "BABA", "0700.HK"]),
        ("costs $5 or US$AAPL or $$$ or $TOOLONG or a$AAPL", []),
        ("600519 700.HK 1234567.SH XSH600519 SH6005191", []),
        ("", []),
    ],
)
def test_cashtags_and_codes(text: str, expected: list[str]) -> None:
    assert symbols(text) == expected


def test_other_tickers_of_an_entity_become_its_symbol() -> None:
    tickers = ticker_table([Entity("GOOG", "Alphabet", tickers=("GOOGL",)), Entity("BABA", "Alibaba", tickers=("9988.HK",))])
    assert symbols("$googl 9988.HK $GOOG", tickers) == ["GOOG", "BABA", "GOOG"]


@pytest.mark.parametrize(
    ("text", "alias", "accepted"),
    [
        ("I like Apple.", Alias("AAPL", "Apple"), True),
        ("I like apple.", Alias("AAPL", "Apple"), False),
        ("pineApple", Alias("AAPL", "Apple"), False),
        ("Apples", Alias("AAPL", "Apple"), False),
        ("Apple_x", Alias("AAPL", "Apple"), False),
        ("买Apple股票", Alias("AAPL", "Apple"), True),
        ("APPLE's", Alias("AAPL", None), True),
        ("#apple", Alias("AAPL", None), True),
        ("éapple", Alias("AAPL", None), False),
    ],
)
def test_latin_names_stand_between_word_boundaries(text: str, alias: Alias, accepted: bool) -> None:
    start = fold(text).index("apple")
    assert accept(text, start, start + 5, alias) is accepted


def test_of_overlapping_mentions_the_leftmost_longest_counts_and_each_symbol_once() -> None:
    mentions = [Mention(5, 9, "B"), Mention(0, 3, "S"), Mention(0, 6, "L"), Mention(9, 10, "B"), Mention(11, 12, "L")]
    assert resolve(mentions) == ("L", "B")


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ([Entity("A", "One"), Entity("B", "Two", aliases=("ONE",))], r"'ONE' belongs to both 'A' and 'B'"),
        ([Entity("A", "One", exact=("Both",)), Entity("B", "Two", exact=("Both",))], r"'Both' belongs to both"),
    ],
)
def test_an_alias_of_two_entities_is_named(entities: list[Entity], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        alias_table(entities)


def test_a_ticker_of_two_entities_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'x' belongs to both 'A' and 'B'"):
        ticker_table([Entity("A", "One", tickers=("X",)), Entity("B", "Two", tickers=("x",))])


def test_an_alias_for_any_case_wins_over_the_same_one_as_written() -> None:
    assert alias_table([Entity("A", "Alpha", exact=("Alpha",))])["alpha"] == Alias("A", None)


@given(st.text())
def test_folding_keeps_places(text: str) -> None:
    assert len(fold(text)) == len(text)


@given(st.text(alphabet="$SHZ.0123456789AKab()阿 "))
def test_any_text_has_codes_in_order_without_overlap(text: str) -> None:
    found = codes(text, {})
    assert all(a.end <= b.start for a, b in zip(found, found[1:], strict=False))
