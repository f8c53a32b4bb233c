import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.text import MAX_CHARS, content_key, is_list, normalise, simhash


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("  $AAPL\tis \n down ", "$AAPL is down"),
        ("see https://t.co/abc?x=1 now", "see http now"),
        ("RT @someone: hi @Another_1!", "RT @user : hi @user !"),
        ("mail me@example.com", "mail me@example.com"),
        ("@one@two say", "@user say"),
        ("股\u200b价\u202e下\u2060跌", "股价下跌"),
        ("ＡＢＣ１２３", "ABC123"),
        ("great\x00news\x1b[31m", "great news [31m"),
        ("up\U000e0041\ufe0f", "up"),
        ("\u200b\u200d\ufeff", ""),
        ("", ""),
    ],
)
def test_normal_form(raw: str, normal: str) -> None:
    assert normalise(raw) == normal


def test_invisible_characters_do_not_change_the_key() -> None:
    assert content_key(normalise("c\u00adr\u200ba\u200cs\u200dh")) == content_key(normalise("crash"))


def test_stacked_marks_are_cut() -> None:
    assert len(normalise("q" + "\u0336" * 10_000)) <= 5


def test_long_text_is_cut() -> None:
    assert len(normalise("word " * 100_000)) <= MAX_CHARS


@pytest.mark.slow
@settings(max_examples=500)
@given(st.text(max_size=300) | st.text("e\u0301\u200b\u0336 @h0:/w.", max_size=30))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


def distance(left: str, right: str) -> int:
    return (int(simhash(normalise(left)), 16) ^ int(simhash(normalise(right)), 16)).bit_count()


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("RT @a: $AMZN in talks to buy $GRPN http://t.co/1", "rt @b: $AMZN in talks to buy $GRPN http://t.co/2"),
        ("Buy now! $AAPL $FB $GOOG", "buy now $TSLA $NFLX"),
        ("茅台股价大跌，散户恐慌抛售", "茅台股价大跌,散户恐慌抛售!"),
    ],
)
def test_copies_share_a_fingerprint(left: str, right: str) -> None:
    assert distance(left, right) == 0


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Apple beats estimates as iPhone sales soar", "Regulator opens inquiry into Apple's app store fees"),
        ("茅台股价大跌，散户恐慌抛售", "比亚迪销量创新高，市场看好"),
        ("🚀🚀🚀", "📉📉📉"),
    ],
)
def test_different_texts_differ(left: str, right: str) -> None:
    assert distance(left, right) > 10


@given(st.text(max_size=300))
def test_fingerprint_is_always_sixteen_hex_digits(text: str) -> None:
    fingerprint = simhash(normalise(text))
    assert len(fingerprint) == 16
    assert 0 <= int(fingerprint, 16) < 2**64


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("Bearish on these: $AAA $BBB $CCC $DDD", True),
        ("$AAA, $BBB and $CCC fall", False),
        ("$AAA pays $1.2 billion, $3 a share, of $4.50 or $5", False),
        ("$茅台(SH600519)$ $中兴(SZ000063)$ $万科A(SZ000002)$", False),
        ("$茅台(SH600519)$ $中兴(SZ000063)$ $万科A(SZ000002)$ $BABA", True),
        ("", False),
    ],
)
def test_a_text_that_names_more_than_three_is_a_list(text: str, listed: bool) -> None:
    assert is_list(text, 3) is listed
