import sys
import unicodedata
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import text as text_module
from pipeline.core.text import MAX_CHARS, MAX_NON_STARTERS, content_key, is_list, normalise, simhash


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


@pytest.mark.parametrize(
    "attack",
    [
        "a" + "\u0344\u0316" * 8_190,
        "a" + "\u0315\u0300" * 8_190,
        "a" + "\u0345" * 8_000 + "\u0334" * 8_000,
        "a" + ("\u0315\u0300" * 15 + "\u200d") * 500,
        "か" + "\uff9e\u0334" * 8_190,
    ],
    ids=["expanding", "alternating", "descending", "joined", "half-width"],
)
def test_no_run_of_marks_takes_long(attack: str) -> None:
    """Each takes 150 to 400 ms where marks are sorted as they come, and 2 to 8 ms where they are not."""
    assert min(seconds(attack) for _ in range(3)) < 0.05


def seconds(text: str) -> float:
    began = process_time()
    normalise(text)
    return process_time() - began


def test_characters_that_become_many_are_cut_again() -> None:
    assert len(text_module._nfkc("\ufdfa" * 4 * MAX_CHARS)) == 4 * MAX_CHARS


def test_every_non_starter_is_looked_for_and_is_nothing_but_marks() -> None:
    """Over all of Unicode: what is cut is all that NFKC would sort, and no letter goes with it."""
    for char in map(chr, range(sys.maxunicode + 1)):
        apart = unicodedata.normalize("NFKD", char)
        if unicodedata.combining(apart[0]):
            assert all(map(unicodedata.combining, apart)), ascii(char)
            assert text_module._PERHAPS_STACKED.fullmatch(char * (MAX_NON_STARTERS + 1)), ascii(char)


@pytest.mark.parametrize(
    "ordinary",
    [
        "שָׁלוֹם עֲלֵיכֶם",
        "नमस्ते दुनिया",
        "བཀྲ་ཤིས་བདེ་ལེགས།",
        "สวัสดีชาวโลก",
        "Zürich, Ệ and ﬁne ＡＢＣ ｶﾞｷﾞｸﾞ",
        "a" + "\u05b0\u05c1\u0301" * (MAX_NON_STARTERS // 3),
        "🚀" * 40 + "—" * 40 + "。" * 40,
        "".join(chr(n) + "x" for n in range(0x300, 0x370)),
    ],
)
def test_what_people_write_comes_out_as_plain_nfkc(ordinary: str) -> None:
    assert text_module._nfkc(ordinary) == unicodedata.normalize("NFKC", ordinary)


@given(st.text("a\u0301\u0334\u05b0\u0f71\uff9eか\u0344", max_size=MAX_NON_STARTERS) | st.text(max_size=300))
def test_runs_within_the_stream_safe_limit_are_left_alone(text: str) -> None:
    assert text_module._nfkc(text) == unicodedata.normalize("NFKC", text)


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


def test_only_short_features_are_remembered() -> None:
    """Else a quarter of a million long words, each sent once, fill gigabytes."""
    text_module._cached_hash.cache_clear()
    simhash(f"short {'x' * 2_000} {'y' * 2_000}")
    assert text_module._cached_hash.cache_info().currsize == 1


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
