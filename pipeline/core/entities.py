"""Which companies, coins and indices a text names: the rules. Finding the words of a dictionary is the caller's.

Cashtags and exchange codes need no dictionary: ``$AAPL``, ``SH600519``, ``600519.SH``, ``0700.HK``, ``$阿里巴巴(BABA)$``.
Names and aliases come from a dictionary. Latin ones stand between word boundaries; an *exact* alias matches only as it is
written (Apple, not apple); where matches overlap the longest counts. A ticker alone, without ``$``, is not a name: T, F
and GM are words; who wants IBM as a word lists it as an exact alias.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.errors import ConfigurationError

_CODES = re.compile(
    r"\$[^$\s()]{1,24}\((?P<named>[A-Za-z]{1,5}|(?:SH|SZ|BJ)\d{6}|\d{5})\)\$?"
    r"|(?<![A-Za-z0-9])\$?(?P<market>SH|SZ|BJ)[:.]?(?P<code>\d{6})(?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9])\$?(?P<listed>\d{6})\.(?P<place>SH|SS|SZ|BJ)(?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9.])\$?(?P<hong_kong>\d{4,5}|(?<=\$)\d{1,5})\.HK(?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9_$])\$(?P<ticker>[A-Za-z]{1,5}(?:[.\-][A-Za-z]{1,2})?)(?![A-Za-z0-9])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Entity:
    """One entry of a dictionary. ``tickers`` are other symbols of the same entity; ``exact`` aliases match as written."""

    symbol: str
    name: str
    tickers: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()


class Alias(NamedTuple):
    """A way to write an entity. ``written``: how it must stand in the text, or None for any case."""

    symbol: str
    written: str | None


class Mention(NamedTuple):
    """A place in a text that may name an entity: [start, end)."""

    start: int
    end: int
    symbol: str


def alias_table(entities: Iterable[Entity]) -> dict[str, Alias]:
    """Return every alias, folded, with its entity. Raises ConfigurationError for one alias of two entities."""
    table: dict[str, Alias] = {}
    for entity in entities:
        ways = [(name, None) for name in (entity.name, *entity.aliases)] + [(name, name) for name in entity.exact]
        for name, written in ways:
            folded = fold(name)
            standing = table.get(folded)
            if standing is not None and standing.symbol != entity.symbol:
                raise ConfigurationError(
                    f"alias {name!r} belongs to both {standing.symbol!r} and {entity.symbol!r}; remove it from one of them"
                )
            if standing is None or written is None:
                table[folded] = Alias(entity.symbol, written)
    return table


def ticker_table(entities: Iterable[Entity]) -> dict[str, str]:
    """Return every ticker with its entity's symbol. Raises ConfigurationError for one ticker of two entities."""
    table: dict[str, str] = {}
    for entity in entities:
        for ticker in (entity.symbol, *entity.tickers):
            standing = table.setdefault(ticker.upper(), entity.symbol)
            if standing != entity.symbol:
                raise ConfigurationError(
                    f"ticker {ticker!r} belongs to both {standing!r} and {entity.symbol!r}; remove it from one of them"
                )
    return table


def fold(text: str) -> str:
    """Return the text in lower case, character for character, so that places in it stay the same."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(char.lower() if len(char.lower()) == 1 else char for char in text)


def codes(text: str, tickers: Mapping[str, str]) -> list[Mention]:
    """Return the cashtags and exchange codes of a text, with the symbols that ``tickers`` gives them."""
    found = []
    for match in _CODES.finditer(text):
        symbol = _canonical(match)
        found.append(Mention(match.start(), match.end(), tickers.get(symbol, symbol)))
    return found


def accept(text: str, start: int, end: int, alias: Alias) -> bool:
    """Return whether an alias that was found in the folded text stands there as a name."""
    if alias.written is not None and text[start:end] != alias.written:
        return False
    left_open = start > 0 and _same_word(text[start - 1], text[start])
    right_open = end < len(text) and _same_word(text[end], text[end - 1])
    return not left_open and not right_open


def resolve(mentions: Iterable[Mention]) -> tuple[str, ...]:
    """Return the symbols in order of appearance, each once; of overlapping mentions the leftmost, longest counts."""
    symbols: dict[str, None] = {}
    covered = 0
    for mention in sorted(mentions, key=lambda one: (one.start, -one.end)):
        if mention.start >= covered:
            symbols.setdefault(mention.symbol)
            covered = mention.end
    return tuple(symbols)


def _canonical(match: re.Match[str]) -> str:
    groups = {name: value.upper() for name, value in match.groupdict().items() if value is not None}
    if "market" in groups:
        return f"{groups['code']}.{groups['market']}"
    if "listed" in groups:
        return f"{groups['listed']}.{groups['place'].replace('SS', 'SH')}"
    if "hong_kong" in groups:
        return _hong_kong(groups["hong_kong"])
    if "ticker" in groups:
        return groups["ticker"].replace("-", ".").removesuffix(".X")  # StockTwits writes coins as $BTC.X
    return _named(groups["named"])


def _named(code: str) -> str:
    if code.isdigit():
        return _hong_kong(code)
    return f"{code[2:]}.{code[:2]}" if code[2:].isdigit() and len(code) == 8 else code


def _hong_kong(code: str) -> str:
    return f"{code.lstrip('0').zfill(4)}.HK"


def _same_word(outside: str, inside: str) -> bool:
    """Return whether two neighbours belong to one word; ideographs are words of their own."""
    return _joins(outside) and _joins(inside)


def _joins(char: str) -> bool:
    return char == "_" or (char.isalnum() and not "\u2e80" <= char <= "\ud7af")
