"""Raw posts of a file through the worker on memory streams, once; afterwards the kept scores are read."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

import workers
from pipeline.adapters.json_lines import has_lines, read_lines, write_lines
from pipeline.contract import EARLIEST_MS
from pipeline.errors import ConfigurationError, InvalidRecord
from pipeline.events import ScoredPost, SocialPost
from pipeline.replay.journal import Journal, journal_of
from pipeline.replay.recorded import is_scored, read_scored, unsorted
from pipeline.replay.scores import keep_scores, kept_scores, refused_beside
from pipeline.replay.scoring_pool import scored_turns
from pipeline.settings import Settings
from producers.mapping import FieldMapping
from producers.rows import read_rows
from workers.encoder import CUT_SCHEME, INT8_SCHEME, Encoder
from workers.hosting import make_linker

POST_TOPIC = "posts"

log = structlog.get_logger()


def _uncounted() -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda _: None)


def _one() -> int:
    return 1


@dataclass(frozen=True)
class Scoring:
    """How raw posts become scored ones.

    ``make_encoder`` is called when there is something to score, in each of ``processes`` where these are several; and so is
    ``counting``, whose call hears how many more posts are done. ``given``: a post whose source names entities is about those
    alone, under the source's own names, as prices and truth have them; otherwise it is also about what the worker links, under
    the dictionary's symbols, as live.
    """

    settings: Settings
    make_encoder: Callable[[], Encoder]
    encoder_name: str
    mapping: FieldMapping | None = None
    counting: Callable[[], AbstractContextManager[Callable[[int], None]]] = _uncounted
    processes: Callable[[], int] = _one
    given: bool = False

    @property
    def identity(self) -> str:
        """Return what scores depend on beside the posts: model, weights, mode, length, mapping and dictionary."""
        encoder, own = self.settings.encoder, self.settings.worker.entities
        parts = {
            "encoder": self.encoder_name,
            "model": encoder.model,
            "weights": _weights_identity(encoder.weights),
            "mode": encoder.mode,
            "int8": INT8_SCHEME,
            "cut": CUT_SCHEME,
            "max_tokens": encoder.max_tokens,
            "mapping": None if self.mapping is None else self.mapping.digest,
            "entities": None if own is None else hashlib.sha256(own.read_bytes()).hexdigest(),
        }
        return json.dumps(parts, sort_keys=True)


def _weights_identity(own: Path | None) -> str | None:
    """Return the hash of the weights' record, which holds the hash of every file; None where there is none yet."""
    folder = Path(workers.__file__).with_name("weights") if own is None else own
    record = folder / "record.json"
    return hashlib.sha256(record.read_bytes()).hexdigest() if record.is_file() else None


def read_posts(path: Path, scoring: Scoring) -> Iterator[ScoredPost]:
    """Return the scored posts of a file in event-time order; a raw file is scored first, unless its scores are kept."""
    if has_lines(path) and scoring.mapping is None and is_scored(path):
        return read_scored(path)
    if not path.is_file():
        raise ConfigurationError(f"{path} is not a file; check the path")
    kept = kept_scores(path, scoring.identity, scoring.settings.cache)
    if not kept.is_file():
        _score(path, kept, scoring)
    _tell_of_refused(path, refused_beside(kept))
    return read_scored(_given(path, kept, scoring) if scoring.given else kept)


def _score(path: Path, kept: Path, scoring: Scoring) -> None:
    """Write what the worker makes of a raw file to ``kept``; an interrupted run goes on where it stood.

    Raises ConfigurationError when the worker can use none of the posts.
    """
    with journal_of(kept) as journal:
        if kept.is_file():
            return  # by the run that held the journal until now
        _go_on(path, journal, scoring)
        if journal.refused and journal.refused == journal.raw_posts:
            raise ConfigurationError(f"{path}: all {journal.refused} posts cannot be scored, the first for {journal.why}")
        if journal.refused:
            write_lines(refused_beside(kept), journal.letters())
        keep_scores(kept, journal.posts())


def _tell_of_refused(path: Path, letters: Path) -> None:
    """Say so in every run, also where the scores are those of an earlier one."""
    if letters.is_file():
        refused = sum(1 for _ in read_lines(letters))
        log.warning("posts_left_out", file=path.name, posts=refused, dead_letters=str(letters))


def _go_on(path: Path, journal: Journal, scoring: Scoring) -> None:
    posts = read_raw(path, scoring.mapping)
    with scoring.counting() as tell:
        tell(sum(1 for _ in islice(posts, journal.raw_posts)))
        for turn in scored_turns(posts, scoring.make_encoder, scoring.settings, scoring.processes):
            journal.add(*turn)
            tell(turn.raw_posts)


def _given(path: Path, kept: Path, scoring: Scoring) -> Path:
    """Return where the same scores stand under the source's own entities; written once, without scoring again."""
    own = kept_scores(path, f"{scoring.identity} given", scoring.settings.cache)
    if not own.is_file():
        named: dict[str, list[str]] = {}
        for post in read_raw(path, scoring.mapping):
            named.setdefault(post.event_id, []).extend(post.entities)
        keep_scores(own, as_given(read_scored(kept), named, make_linker(scoring.settings).symbol))
    return own


def as_given(
    posts: Iterable[ScoredPost], named: Mapping[str, Sequence[str]], symbol: Callable[[str], str]
) -> Iterator[ScoredPost]:
    """Yield the posts under the names their source gave; those it names nobody in stay as they are linked."""
    for post in posts:
        names = named.get(post.event_id, ())
        if not names:
            yield post
        for name in names:
            if symbol(name) == post.entity:
                yield post.model_copy(update={"entity": name})


def read_raw(path: Path, mapping: FieldMapping | None) -> Iterator[SocialPost]:
    """Yield the posts of a file in event-time order.

    Without a mapping a row is a SocialPost, or one with a single ``entity`` in place of ``entities``. Raises
    ConfigurationError for a row that is none, and where the event time goes back.
    """
    before_ms = EARLIEST_MS
    if mapping is not None and mapping.topic.name != POST_TOPIC:
        raise ConfigurationError(f"the mapping is for {mapping.topic.name}; a replay needs one with contract: post")
    for line in read_rows(path):
        post = _post(line.row, mapping, f"{path} row {line.number}")
        if post.event_time_ms < before_ms:
            raise unsorted(path, line.number, before_ms, post.event_time_ms, mapped=mapping is not None)
        before_ms = post.event_time_ms
        yield post


def _post(row: Mapping[str, Any] | InvalidRecord, mapping: FieldMapping | None, where: str) -> SocialPost:
    if isinstance(row, InvalidRecord):
        raise ConfigurationError(f"{where}: {row}")
    try:
        return SocialPost.model_validate(with_entities(row) if mapping is None else mapping.apply(row))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"])) or "post"
        fix = "mend the row, or give a mapping with --map"
        raise ConfigurationError(f"{where}: {name} = {str(first['input'])[:80]!r}: {first['msg']}; {fix}") from None


def with_entities(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with an ``entity``, one name or a list of them, written as ``entities`` where there are none."""
    fields = {name: value for name, value in row.items() if name != "entity"}
    entity = row.get("entity")
    names = [entity] if isinstance(entity, str) and entity.strip() else entity
    if "entities" not in row and isinstance(names, list):
        fields["entities"] = names
    return fields
