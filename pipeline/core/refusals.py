"""Say what is wrong with a record, in words that help at its source: field, value, and how to mend it; its dead letter."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.errors import InvalidRecord, Reason
from pipeline.events import DeadLetter

_TIMES = {"event_time_ms", "available_at_ms", "author_created_ms"}
_RULE_BROKEN = {"text": Reason.EMPTY_TEXT} | dict.fromkeys(_TIMES, Reason.TIME_OUT_OF_RANGE)
_WANTED = {
    "string_type": "write a JSON string",
    "int_type": "write a JSON integer",
    "int_parsing": "write a JSON integer",
    "int_from_float": "write a JSON integer",
    "float_type": "write a JSON number",
    "float_parsing": "write a JSON number",
    "tuple_type": "write a JSON array",
}


class Origin(NamedTuple):
    """Where a record stood, and its bytes."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    payload: bytes


def dead_letter(refused: InvalidRecord, origin: Origin, first_seen_ms: int, hint: str = "") -> DeadLetter:
    """Return the dead letter of a record, with its original bytes; ``hint`` goes behind the fix."""
    return DeadLetter(
        reason=refused.reason,
        field=refused.field,
        value=_cut(refused.value),
        fix=_cut(refused.fix) + hint,
        first_seen_ms=first_seen_ms,
        **origin._asdict(),
    )


def refusal(error: ValidationError, value: bytes) -> InvalidRecord:
    """Return the first thing that is wrong with the record ``value``, as pydantic found it."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"])) or "record"
    reason, fix = _explain(first, field, value)
    shown = value if first["type"] in {"json_invalid", "missing"} else first["input"]
    return InvalidRecord(reason, field, _shown(shown), fix)


def _explain(error: ErrorDetails, field: str, value: bytes) -> tuple[Reason, str]:
    kind = error["type"]
    if kind == "value_error":
        return _RULE_BROKEN.get(field, Reason.INVALID_VALUE), error["msg"].removeprefix("Value error, ")
    if kind.endswith(("_type", "_parsing", "_from_float")):
        return Reason.WRONG_TYPE, _wrong_type(kind, field)
    explain = _EXPLANATIONS.get(kind)
    return explain(error, value) if explain is not None else (Reason.INVALID_VALUE, error["msg"])


def _wrong_type(kind: str, field: str) -> str:
    if field in _TIMES:
        return "write epoch milliseconds (UTC) as a JSON integer, without quotes or decimals"
    if field == "record":
        return "write one JSON object per record"
    return _WANTED.get(kind, "write the type that `groundswell schema` names")


def _not_json(error: ErrorDetails, value: bytes) -> tuple[Reason, str]:
    if not value.strip():
        return Reason.INVALID_JSON, "the record is empty; write one JSON object per record, and no tombstones"
    detail = error.get("ctx", {}).get("error", error["msg"])
    return Reason.INVALID_JSON, f"{detail}; write one JSON object in UTF-8, without lone surrogates or raw control characters"


def _missing(error: ErrorDetails, value: bytes) -> tuple[Reason, str]:  # noqa: ARG001 - one shape for all explanations
    return Reason.MISSING_FIELD, f"add the field {error['loc'][-1]!r}; `groundswell schema` names what a record needs"


def _too_long(error: ErrorDetails, value: bytes) -> tuple[Reason, str]:  # noqa: ARG001
    return Reason.TOO_LARGE, f"cut it to {error.get('ctx', {}).get('max_length')} characters"


def _too_many(error: ErrorDetails, value: bytes) -> tuple[Reason, str]:  # noqa: ARG001
    return Reason.TOO_LARGE, f"keep at most {error.get('ctx', {}).get('max_length')} of them; leave the others out"


def _too_short(error: ErrorDetails, value: bytes) -> tuple[Reason, str]:  # noqa: ARG001
    return Reason.INVALID_VALUE, "is empty; write at least one character"


def _not_finite(error: ErrorDetails, value: bytes) -> tuple[Reason, str]:  # noqa: ARG001
    return Reason.INVALID_VALUE, "write a finite number, or leave the field out"


def _not_listed(error: ErrorDetails, value: bytes) -> tuple[Reason, str]:  # noqa: ARG001
    return Reason.INVALID_VALUE, f"use one of {error.get('ctx', {}).get('expected')}"


_EXPLANATIONS: Mapping[str, Callable[[ErrorDetails, bytes], tuple[Reason, str]]] = {
    "json_invalid": _not_json,
    "missing": _missing,
    "string_too_long": _too_long,
    "too_long": _too_many,
    "string_too_short": _too_short,
    "finite_number": _not_finite,
    "enum": _not_listed,
}


def _cut(text: str) -> str:
    return text[: DeadLetter.MAX_VALUE_CHARS].encode("utf-8", "replace").decode()


def _shown(value: object) -> str:
    """Return the beginning of a value as text that can always be written."""
    if isinstance(value, bytes):
        return value[: DeadLetter.MAX_VALUE_CHARS].decode("utf-8", "replace")
    return value if isinstance(value, str) else repr(value)
