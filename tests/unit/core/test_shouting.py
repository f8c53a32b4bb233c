"""Texts in capitals become sentences before an encoder reads them; all others stay as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.shouting import calmed
from pipeline.core.text import MAX_CHARS, readable, simhash


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("TESLA RECALLS TWO MILLION CARS", "Tesla recalls two million cars"),
        ("*FED CUTS RATES BY HALF A POINT, MARKETS RALLY", "*fed cuts rates by half a point, markets rally"),
        (
            "RT @desk: $AAPL SHARES FALL AFTER EARNINGS MISS https://t.co/aB",
            "Rt @user : $AAPL shares fall after earnings miss http",
        ),
        ('"SHARES FALL AFTER EARNINGS MISS', '"shares fall after earnings miss'),
        ("🚀 SHARES RISE AFTER EARNINGS BEAT", "🚀 shares rise after earnings beat"),
        ("İ STOCK PRICES FALL HARD İ", "İ stock prices fall hard İ"),
        ("苹果 APPLE SHARES CRASH 暴跌", "苹果 apple shares crash 暴跌"),
        ("ÁRBOL GRANDE CAYÓ SOBRE CASAS", "Árbol grande cayó sobre casas"),
    ],
)
def test_a_text_in_capitals_is_read_as_a_sentence_and_cashtags_stay(text: str, read: str) -> None:
    assert readable(text) == read


@pytest.mark.parametrize(
    "text",
    [
        "Apple shares fall after earnings miss",
        "The NASDAQ and the NYSE closed, said CNBC",
        "BREAKING: Apple recalls two million phones in Europe",
        "$AAPL $MSFT $GOOG $AMZN $NFLX $TSLA",
        "AAPL MSFT GOOG up 2%, and nobody knows why they moved",
        "LOL WTF OMG FYI ASAP IMO",
        "SELL NOW",
        "BREAKING NEWS FROM EUROPE TODAY: Apple falls again",
        "涨停！ A股 ETF 大涨",
        "",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert calmed(text) == text


@given(
    st.text(alphabet=st.sampled_from("ABHJTWYßİǰẖaé $@.涨\u0331\u030c\u0301 "), max_size=60).map(
        lambda text: f"SELL THIS STOCK NOW {text}"
    )
)
def test_what_was_calmed_is_in_its_normal_form(text: str) -> None:
    once = readable(text)
    assert readable(once) == once


def test_a_text_of_any_length_is_in_its_normal_form() -> None:
    once = readable("SELL EVERYTHING " * (MAX_CHARS // 16) + "or maybe not just yet " * 800)
    assert once.startswith("Sell everything sell")
    assert readable(once) == once


def test_who_shouts_says_the_same_as_who_does_not() -> None:
    loud, calm = readable("TESLA RECALLS TWO MILLION CARS IN CHINA"), readable("Tesla recalls two million cars in China")
    assert simhash(loud) == simhash(calm)
