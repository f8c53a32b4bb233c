"""Silences, decided: which alerts a person has asked not to hear of for a while, and who asked, and why.

As in Alertmanager: a silence has matchers, all of which must hold, a start, an end, an author and a comment. It stops
webhooks and nothing else: alerts are found, written and kept as ever.
"""

import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final, Literal, get_args

from pydantic import Field

from pipeline.contract import LATEST_MS, MAX_NAME_CHARS, Contract, Name
from pipeline.core.shown import clock, printable, utc
from pipeline.errors import ConfigurationError
from pipeline.events import Alert, Rule, Severity

MatchedField = Literal["entity", "rule", "severity", "alert_id"]
FIELDS: Final[tuple[str, ...]] = get_args(MatchedField)
VALUES: Final[dict[str, tuple[str, ...]]] = {"rule": tuple(Rule), "severity": tuple(Severity)}


class SilenceState(StrEnum):
    """Whether a silence has begun, and whether it is over."""

    PENDING = "pending"
    ACTIVE = "active"
    ENDED = "ended"


class Matcher(Contract):
    """What one field of an alert must be, or with ``negated`` must not be; ``*`` and ``?`` in it stand for any characters."""

    field: MatchedField
    pattern: Name
    negated: bool = False

    def __str__(self) -> str:
        """Return the matcher as it is typed."""
        return f"{self.field}{'!=' if self.negated else '='}{self.pattern}"

    def matches(self, alert: Alert) -> bool:
        """Return whether it holds for the alert."""
        return fnmatchcase(str(getattr(alert, self.field)), self.pattern) is not self.negated


class Silence(Contract):
    """One silence: from ``starts_at_ms`` until before ``ends_at_ms``, in processing time."""

    silence_id: str
    matchers: tuple[Matcher, ...] = Field(min_length=1)
    author: Name
    comment: Name
    starts_at_ms: int
    ends_at_ms: int

    def __str__(self) -> str:
        """Return why something is silenced, in one line."""
        until = clock(self.ends_at_ms)
        return printable(f"silence {self.silence_id} until {until} UTC, {self.author}: {self.comment}")

    def state(self, now_ms: int) -> SilenceState:
        """Return where the silence stands."""
        if now_ms >= self.ends_at_ms:
            return SilenceState.ENDED
        return SilenceState.ACTIVE if now_ms >= self.starts_at_ms else SilenceState.PENDING

    def hides(self, alert: Alert, now_ms: int) -> bool:
        """Return whether nobody is to be told of the alert now."""
        return self.state(now_ms) is SilenceState.ACTIVE and all(matcher.matches(alert) for matcher in self.matchers)

    def ended(self, now_ms: int) -> "Silence":
        """Return the silence as one that is over now, if it was not before."""
        return self.model_copy(update={"ends_at_ms": min(self.ends_at_ms, now_ms)})


def silenced_by(silences: Iterable[Silence], alert: Alert, now_ms: int) -> Silence | None:
    """Return the silence that hides the alert, of several the one that lasts longest."""
    hiding = [silence for silence in silences if silence.hides(alert, now_ms)]
    return max(hiding, key=lambda silence: (silence.ends_at_ms, silence.silence_id), default=None)


def parse_matcher(text: str) -> Matcher:
    """Return the matcher of ``field=pattern`` or ``field!=pattern``. Raises ConfigurationError for one that can never match."""
    name, equals, pattern = (part.strip() for part in text.partition("="))
    negated, field = name.endswith("!"), name.removesuffix("!").strip()
    if not equals or not pattern:
        raise ConfigurationError(f"silence matcher {text!r}: write FIELD=VALUE or FIELD!=VALUE, as in entity=ACME")
    if len(pattern) > MAX_NAME_CHARS:
        fix = f"write at most {MAX_NAME_CHARS}, with * for the others"
        raise ConfigurationError(f"silence matcher {text[:20]!r}… has a value of {len(pattern)} characters; {fix}")
    if field not in FIELDS:
        raise ConfigurationError(f"silence matcher {text!r}: alerts have no field {field!r} to match; use {_either(FIELDS)}")
    known = VALUES.get(field)
    if known is not None and not any(fnmatchcase(value, pattern) for value in known):
        raise ConfigurationError(f"silence matcher {text!r}: no {field} is {pattern!r}; use {_either(known)}")
    return Matcher.model_validate({"field": field, "pattern": pattern, "negated": negated})


def make_silence(matchers: Sequence[str], author: str, comment: str, span_ms: tuple[int, int], now_ms: int) -> Silence:
    """Return a silence from what a person typed; ``span_ms``: start and end. Raises ConfigurationError with what to mend."""
    if not matchers:
        raise ConfigurationError("a silence without a matcher would hide everything; write FIELD=VALUE, as in entity=ACME")
    for name, value in (("author", author), ("comment", comment)):
        if not 0 < len(value.strip()) <= 512:
            raise ConfigurationError(f"--{name} {value[:20]!r}: write 1 to 512 characters, for whoever wonders later")
    _check_span(*span_ms, now_ms)
    parsed = tuple(parse_matcher(text) for text in matchers)
    content = "\n".join([*map(str, parsed), author, comment, str(span_ms)])
    return Silence(
        silence_id=hashlib.sha256(content.encode()).hexdigest()[:8],
        matchers=parsed,
        author=author.strip(),
        comment=comment.strip(),
        starts_at_ms=span_ms[0],
        ends_at_ms=span_ms[1],
    )


def _check_span(starts_at_ms: int, ends_at_ms: int, now_ms: int) -> None:
    if ends_at_ms >= LATEST_MS:
        raise ConfigurationError("a silence must end before the year 2100; set an earlier end")
    end, start, now = (utc(moment) for moment in (ends_at_ms, starts_at_ms, now_ms))
    if ends_at_ms <= starts_at_ms:
        raise ConfigurationError(f"the silence would end {end} UTC, but begins {start} UTC; set a later end")
    if ends_at_ms <= now_ms:
        raise ConfigurationError(f"the silence would end {end} UTC, which is past (it is {now} UTC); set a later end")


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
