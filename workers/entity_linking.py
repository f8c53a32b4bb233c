"""Find the entities that a text names: the rules of ``core.entities`` over an Aho-Corasick automaton of a dictionary."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import ahocorasick
from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from pipeline.adapters.yaml_text import parse_yaml, read_yaml
from pipeline.core.entities import Alias, Entity, Mention, accept, alias_table, codes, fold, resolve, ticker_table
from pipeline.errors import ConfigurationError

MIN_ALIAS_CHARS = 2

_Word = Annotated[str, StringConstraints(min_length=MIN_ALIAS_CHARS, strip_whitespace=True, strict=True)]
_Symbol = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True, strict=True)]


class _Entry(BaseModel):
    """One entry of a dictionary file."""

    model_config = ConfigDict(extra="forbid")

    symbol: _Symbol
    name: _Word
    tickers: tuple[_Symbol, ...] = ()
    aliases: tuple[_Word, ...] = ()
    exact: tuple[_Word, ...] = ()

    def entity(self) -> Entity:
        return Entity(self.symbol, self.name, self.tickers, self.aliases, self.exact)


_ENTRIES = TypeAdapter(list[_Entry])


class EntityLinker:
    """Links texts to a dictionary. Raises ConfigurationError for an alias or a ticker of two entities."""

    def __init__(self, entities: Sequence[Entity]) -> None:
        self._tickers = ticker_table(entities)
        self._automaton = ahocorasick.Automaton()
        for folded, alias in alias_table(entities).items():
            self._automaton.add_word(folded, (len(folded), alias))
        self._automaton.make_automaton()

    def link(self, text: str) -> tuple[str, ...]:
        """Return the symbols that a text names, in order of appearance."""
        mentions = codes(text, self._tickers) if "." in text or "$" in text or _may_hold_a_code(text) else []
        if len(self._automaton):
            mentions += self._named(text)
        return resolve(mentions) if mentions else ()

    def symbol(self, known: str) -> str:
        """Return the dictionary's symbol for one that a source wrote: ``$goog`` and ``GOOGL`` are one entity."""
        bare = known.strip().removeprefix("$")
        return self._tickers.get(bare.upper(), bare)

    def _named(self, text: str) -> list[Mention]:
        found: list[Mention] = []
        last: int
        length: int
        alias: Alias
        for last, (length, alias) in self._automaton.iter(fold(text)):
            start, end = last - length + 1, last + 1
            if accept(text, start, end, alias):
                found.append(Mention(start, end, alias.symbol))
        return found


def shipped_dictionary() -> list[Entity]:
    """Return the dictionary that comes with the project: large companies of three markets, coins and indices."""
    file = resources.files("workers") / "data" / "entities.yaml"
    origin = "workers/data/entities.yaml"
    return _entities(parse_yaml(file.read_text("utf-8"), origin), origin)


def load_dictionary(path: Path) -> list[Entity]:
    """Return a user's dictionary: YAML, a list of {symbol, name, tickers, aliases, exact}. Raises ConfigurationError."""
    return _entities(read_yaml(path), str(path))


def _entities(document: Any, origin: str) -> list[Entity]:
    try:
        return [entry.entity() for entry in _ENTRIES.validate_python(document)]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigurationError(
            f"{origin}: {place} = {first['input']!r}; {first['msg']} "
            "(a list of {symbol, name, tickers, aliases, exact}; quote symbols such as 'ON' and '0700.HK')"
        ) from error


def _may_hold_a_code(text: str) -> bool:
    return any(char.isdigit() for char in text)
