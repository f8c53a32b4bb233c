"""From the columns of a file to the fields of a contract, as a small YAML file says.

    contract: post                # or: behavior
    source: stocknet              # optional; what event ids are made from, and the field ``source`` unless mapped
    fields:
      author_id: author_id                                  # a column
      event_time_ms: {from: created, unit: s}               # a time in ms, s, us or iso (ISO 8601, UTC unless it says otherwise)
      entities: {list: ticker}                              # a list of one
      language: {const: en}                                 # the same for every row
      item_text: {template: "item {item_id}"}               # a text around columns
      repost_of: {const: "?", when: is_repost}              # only where the column is true

An absent or empty column leaves its field out. A number becomes text where the field is one; what is neither is refused.
Without ``event_id`` the id is a hash of source and content. A column of a time that holds dates, or what Parquet's dates are
written as in JSON, is read as such whatever its unit.
"""

import hashlib
import json
import re
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any, Final

from pipeline.adapters.yaml_text import read_yaml
from pipeline.errors import ConfigurationError
from pipeline.events import BehaviorEvent, SocialPost
from pipeline.times import epoch_ms, iso_ms
from pipeline.topics import EVENTS, POSTS, Topic

Row = Mapping[str, Any]
Rule = Callable[[Row], Any]
TOPIC_OF: Final[dict[str, Topic]] = {"post": POSTS, "behavior": EVENTS}
KEYS: Final = {"contract", "source", "fields"}
FORMS: Final = {"from", "const", "template", "list"}
OPTIONS: Final = {"unit", "when"}
UNITS: Final[dict[str, Callable[[float], float]]] = {"ms": lambda t: t, "s": lambda t: t * 1_000, "us": lambda t: t / 1_000}
TIMES: Final = ("event_time_ms", "available_at_ms", "author_created_ms")
_WRITTEN_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d.*)?")
FALSE: Final = {"", "0", "0.0", "false", "no", "f", "n", "off", "none", "null", "nan"}
EXACT: Final = 2**53  # up to here a float holds every whole number


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """A compiled mapping. ``digest`` changes when the file's meaning changes; ``origins`` says where a field comes from,
    ``columns`` which ones are read.
    """

    topic: Topic
    contract: type[SocialPost | BehaviorEvent]
    source: str
    rules: Mapping[str, Rule]
    digest: str
    origins: Mapping[str, str]
    columns: frozenset[str]

    def apply(self, row: Row) -> dict[str, Any]:
        """Return the fields of the contract, for validation; nothing is checked here."""
        fields = {target: value for target, rule in self.rules.items() if (value := rule(row)) is not None}
        if "event_id" not in fields:
            fields["event_id"] = content_id(self.source, fields)
        return fields


def content_id(source: str, fields: Mapping[str, Any]) -> str:
    """Return an id that depends on source and content only (128 bits of SHA-256, in hex)."""
    content = json.dumps([source, fields], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def load_mapping(path: Path) -> FieldMapping:
    """Read and check a mapping file. Raises ConfigurationError that names the key and what it may be."""
    return compile_mapping(read_yaml(path), str(path))


def compile_mapping(document: Any, name: str) -> FieldMapping:
    """Return the mapping that a YAML document describes. Raises ConfigurationError."""
    if not isinstance(document, dict):
        raise ConfigurationError(f"mapping {name} holds no keys; it needs contract and fields")
    _known(f"mapping {name}", document, KEYS)
    topic = TOPIC_OF.get(str(document.get("contract")))
    if topic is None:
        raise ConfigurationError(f"mapping {name}: contract = {document.get('contract')!r}; use one of {', '.join(TOPIC_OF)}")
    contract: type[SocialPost | BehaviorEvent] = SocialPost if topic is POSTS else BehaviorEvent
    fields = document.get("fields")
    if not isinstance(fields, dict) or not fields:
        raise ConfigurationError(f"mapping {name}: fields is empty; name at least the required fields of {contract.__name__}")
    _known(f"mapping {name}, fields", fields, set(contract.model_fields))
    _plain(f"mapping {name}, source", document.get("source"))
    source = str(document.get("source") or "file")
    rules = {target: _rule(contract, target, form, f"mapping {name}, field {target}") for target, form in fields.items()}
    if document.get("source") and "source" not in rules:
        rules["source"] = lambda _row: source
    _complete(contract, rules, name)
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
    origins = {target: _origin(target, form) for target, form in fields.items()}
    columns = frozenset(chain.from_iterable(map(_columns, fields.values())))
    return FieldMapping(topic, contract, source, rules, digest, origins, columns)


def _complete(contract: type[SocialPost | BehaviorEvent], rules: Mapping[str, Rule], name: str) -> None:
    required = {field for field, info in contract.model_fields.items() if info.is_required()} - {"event_id"}
    missing = sorted(required - set(rules))
    if missing:
        raise ConfigurationError(f"mapping {name}: {contract.__name__} needs {', '.join(missing)}; add under fields")


def _known(where: str, given: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(str(key) for key in given if key not in known)
    if unknown:
        raise ConfigurationError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")


def _plain(where: str, value: Any) -> None:
    """Refuse what YAML makes of a text without quotes and JSON has no form for: dates, times, bytes."""
    try:
        json.dumps(value, sort_keys=True)
    except TypeError as error:
        raise ConfigurationError(f"{where}: {value!r} is no plain value; put dates and times in quotes") from error


def _origin(target: str, form: Any) -> str:
    """Say where a field comes from, in words for the one who wrote the mapping."""
    column = form if isinstance(form, str) else form.get("from", form.get("list"))
    if column is None:
        return "the mapping's own value"
    unit = "ms" if isinstance(form, str) else form.get("unit", "ms")
    return f"column {column!r}, read as {unit}" if target in TIMES else f"column {column!r}"


def _columns(form: Any) -> Iterator[str]:
    """Yield the columns that a form, which is a right one, reads."""
    if isinstance(form, str):
        yield form
        return
    yield from (str(form[kind]) for kind in ("from", "list", "when") if kind in form)
    yield from (str(name) for name, _, _ in _blanks(str(form.get("template", ""))))


def _rule(contract: type[SocialPost | BehaviorEvent], target: str, form: Any, where: str) -> Rule:
    _plain(where, form)
    if isinstance(form, str):
        form = {"from": form}
    if not isinstance(form, dict):
        raise ConfigurationError(f"{where}: {form!r} is no form; write a column name, or one of {', '.join(sorted(FORMS))}")
    _known(where, form, FORMS | OPTIONS)
    kinds = sorted(FORMS & set(form))
    if len(kinds) != 1:
        raise ConfigurationError(f"{where}: needs exactly one of {', '.join(sorted(FORMS))}; found {kinds or 'none'}")
    rule = _RULES[kinds[0]](form, target, where)
    if _wants_text(contract, target):
        rule = _as_text(rule)
    return rule if "when" not in form else _only_when(rule, str(form["when"]))


def _column(form: Mapping[str, Any], target: str, where: str) -> Rule:
    column = str(form["from"])
    if target in TIMES:
        return _time(column, str(form.get("unit", "ms")), where)
    return lambda row: None if row.get(column) == "" else row.get(column)


def _const(form: Mapping[str, Any], target: str, where: str) -> Rule:  # noqa: ARG001 - one shape for all forms
    value = form["const"]
    return lambda _row: value


def _list(form: Mapping[str, Any], target: str, where: str) -> Rule:  # noqa: ARG001
    column = str(form["list"])

    def take(row: Row) -> list[Any]:
        value = row.get(column)
        if value is None or value == "":
            return []
        return [_text(item) for item in value] if isinstance(value, (list, tuple)) else [_text(value)]

    return take


def _template(form: Mapping[str, Any], target: str, where: str) -> Rule:  # noqa: ARG001
    text = str(form["template"])
    try:
        parts = _blanks(text)
    except ValueError as error:
        raise ConfigurationError(f"{where}: template {text!r} is broken: {error}") from error
    if not all(name and name.isidentifier() and not spec and not conversion for name, spec, conversion in parts):
        raise ConfigurationError(f"{where}: template {text!r} may hold column names in braces and nothing else")
    columns = [str(name) for name, _, _ in parts]

    def fill(row: Row) -> Any:
        values = {name: _text(row.get(name)) for name in columns}
        if any(value is None or value == "" for value in values.values()):
            return None
        odd = [value for value in values.values() if isinstance(value, (float, list, dict))]
        return odd[0] if odd else text.format(**values)  # the contract refuses what no text can be made of

    return fill


def _blanks(template: str) -> list[tuple[str | None, str | None, str | None]]:
    """Return what stands in the braces of a template: name, format and conversion. Raises ValueError for a broken one."""
    return [part[1:] for part in string.Formatter().parse(template) if part[1] is not None]


def _time(column: str, unit: str, where: str) -> Rule:
    if unit != "iso" and unit not in UNITS:
        raise ConfigurationError(f"{where}: unit = {unit!r}; use one of iso, {', '.join(UNITS)}")

    def read(row: Row) -> Any:
        value = row.get(column)
        if value is None or value == "":
            return None
        try:
            iso = unit == "iso" or isinstance(value, date) or _is_written_date(value)
            return _moment_ms(value) if iso else int(UNITS[unit](_number(value)))
        except (ValueError, TypeError, OverflowError):
            return value  # the contract refuses it, and says so with the line

    return read


def _is_written_date(value: Any) -> bool:
    """Return whether a value is a date or a datetime as ``str`` writes it, which is how ``sort`` keeps one in JSON lines."""
    return isinstance(value, str) and _WRITTEN_DATE.fullmatch(value) is not None


def _number(value: Any) -> float:
    """Read a number; integers stay exact."""
    if isinstance(value, str):
        return int(value) if value.strip().lstrip("-").isdigit() else float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise TypeError(f"{value!r} is no number")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def _moment_ms(value: Any) -> int:
    return epoch_ms(value) if isinstance(value, datetime) else iso_ms(str(value).strip())


def _wants_text(contract: type[SocialPost | BehaviorEvent], target: str) -> bool:
    schema = contract.model_json_schema()["properties"][target]
    return "string" in {each.get("type") for each in [schema, *schema.get("anyOf", [])]}


def _as_text(rule: Rule) -> Rule:
    """Write numbers as text where the contract wants text (ids that are numbers in the file)."""
    return lambda row: _text(rule(row))


def _text(value: Any) -> Any:
    """Return a number as text; anything else stays what it is, and the contract refuses what is no text.

    A whole number is written without decimals: a table writes the ids of a column that has gaps as 17.0. What is no number,
    or so large that its last digits are lost already, which would make one id of several, stays too.
    """
    if isinstance(value, float):
        return value if not abs(value) <= EXACT else str(int(value)) if value.is_integer() else str(value)
    return str(value) if isinstance(value, (int, Decimal)) and not isinstance(value, bool) else value


def _only_when(rule: Rule, column: str) -> Rule:
    return lambda row: None if str(row.get(column) or "").strip().lower() in FALSE else rule(row)


_RULES: Final[dict[str, Callable[[Mapping[str, Any], str, str], Rule]]] = {
    "from": _column,
    "const": _const,
    "list": _list,
    "template": _template,
}
