"""What a chunk of records brings about, as values: profile updates, scored posts, dead letters, and the outcome of each
record. Pure, and the same for the same records, so that a redelivery repeats the same effects.
"""

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.adapters.stores import Outcomes, Update
from pipeline.adapters.streams import TopicPartition, check_record
from pipeline.core.rolling import ProfileEvent
from pipeline.core.text import MAX_CHARS, simhash
from pipeline.errors import InvalidRecord, Reason
from pipeline.events import DeadLetter, ScoredPost, Sentiment, SocialPost
from workers.decoding import Event, Rejected, rejected
from workers.encoder import Vectors
from workers.encoding import Encoded
from workers.entity_linking import EntityLinker
from workers.preparing import Chunk, Scorable
from workers.result_cache import Answer
from workers.rules import POST, WorkerRules

DECIMALS = 4
MAX_ENTITIES = 100  # of one post


class Outgoing(NamedTuple):
    """A record to be written."""

    topic: str
    key: bytes
    value: bytes
    timestamp_ms: int


@dataclass(slots=True)
class Effects:
    """Everything that must be durable before the offsets of a chunk are committed."""

    updates: list[Update] = field(default_factory=list)
    outgoing: list[Outgoing] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    scored: dict[TopicPartition, list[int]] = field(default_factory=dict)
    dead: dict[TopicPartition, list[int]] = field(default_factory=dict)
    next_offsets: dict[TopicPartition, int] = field(default_factory=dict)

    def outcomes(self) -> dict[TopicPartition, Outcomes]:
        """Return what became of every record, by partition."""
        return {p: Outcomes(end, self.scored.get(p, []), self.dead.get(p, [])) for p, end in self.next_offsets.items()}


@dataclass(frozen=True, slots=True)
class ModelName:
    """Which model the answers are from."""

    model: str
    revision: str
    intent_names: tuple[str, ...]


class EffectRules:
    """Turns a chunk and its answers into effects."""

    def __init__(self, rules: WorkerRules, linker: EntityLinker) -> None:
        self._rules = rules
        self._linker = linker

    def effects(self, chunk: Chunk, encoded: Encoded, model: ModelName, now_ms: int) -> Effects:
        """Return the effects of a chunk whose texts are all answered or failed."""
        effects = Effects()
        for record in chunk.records:
            effects.next_offsets[record.topic_partition] = record.offset + 1
        for one in chunk.rejected:
            self._bury(effects, one)
        fingerprints: dict[str, str] = {}
        for scorable in chunk.scorables:
            try:
                answer = _answer(scorable, chunk, encoded)
                posts = self._scored_posts(scorable, answer, model, fingerprints)
            except InvalidRecord as error:
                self._bury(effects, rejected(scorable.record, error, now_ms))
                continue
            effects.outgoing += posts
            effects.updates.append(self._update(scorable, answer))
            effects.scored.setdefault(scorable.record.topic_partition, []).append(scorable.record.offset)
        return effects

    def _bury(self, effects: Effects, one: Rejected) -> None:
        effects.letters.append(one.letter)
        effects.outgoing.append(self._letter(one))
        insort(effects.dead.setdefault(one.record.topic_partition, []), one.record.offset)

    def _letter(self, one: Rejected) -> Outgoing:
        """Return the dead letter as a record; where base64 makes it too large, with the beginning of the bytes."""
        topic, letter = self._rules.topics.dead_letters, one.letter
        outgoing = Outgoing(topic, letter.topic.encode(), letter.to_json(), letter.first_seen_ms)
        try:
            check_record(*outgoing, now_ms=None)
        except InvalidRecord:
            fix = f"{letter.fix} (only a part of {len(letter.payload)} bytes is kept here; the whole stands in the topic)"
            cut = letter.model_copy(update={"payload": letter.payload[: len(letter.payload) // 4], "key": None, "fix": fix})
            return self._letter(Rejected(one.record, cut))
        return outgoing

    def _scored_posts(
        self, scorable: Scorable, answer: Answer | None, model: ModelName, fingerprints: dict[str, str]
    ) -> list[Outgoing]:
        post, text = scorable.event, scorable.text
        if not isinstance(post, SocialPost) or answer is None or text is None:
            return []
        fingerprint = fingerprints.get(text) or fingerprints.setdefault(text, simhash(text))
        scored = _scored(post, answer, model, fingerprint)
        topic = self._rules.topics.scored
        outgoing = [
            Outgoing(topic, entity.encode(), scored.model_copy(update={"entity": entity}).to_json(), post.event_time_ms)
            for entity in self._entities(post, text)
        ]
        for one in outgoing:
            check_record(*one, now_ms=None)
        return outgoing

    def _entities(self, post: SocialPost, text: str) -> Iterable[str]:
        """Return what a post names, each once: what its source knew, then what its text says; nobody is ``""``."""
        if len(post.entities) > MAX_ENTITIES:
            fix = f"a post names at most {MAX_ENTITIES} entities, for each one becomes a scored post; leave the others out"
            raise InvalidRecord(Reason.TOO_LARGE, "entities", f"{len(post.entities)} entities", fix)
        known = [self._linker.symbol(entity) for entity in post.entities]
        named = dict.fromkeys(symbol for symbol in (*known, *self._linker.link(text)) if symbol)
        return list(named)[:MAX_ENTITIES] or [""]

    def _update(self, scorable: Scorable, answer: Answer | None) -> Update:
        user_id, action, item_id = _who_did_what(scorable.event)
        weight = self._rules.weights[action]
        event = ProfileEvent(
            event_id=scorable.event.event_id,
            event_time_ms=scorable.event.event_time_ms,
            action=action,
            weight=weight,
            vector=answer.vector if answer is not None and weight > 0.0 else None,
            item_id=item_id,
            title=scorable.text or "",
        )
        return Update(user_id, scorable.record.topic_partition, scorable.record.offset, event)


def _who_did_what(event: Event) -> tuple[str, str, str]:
    """Return whose profile an event changes, what it counts as, and the item: a post is its author's own item."""
    if isinstance(event, SocialPost):
        return event.author_id, POST, event.event_id
    return event.user_id, event.action.value, event.item_id or ""


def _answer(scorable: Scorable, chunk: Chunk, encoded: Encoded) -> Answer | None:
    """Return the answer to a record's text, or None where it has none. Raises InvalidRecord where the model failed."""
    if scorable.key is None:
        return None
    answer = chunk.answers.get(scorable.key)
    if answer is None:
        answer = encoded.answers.get(scorable.key)
    if answer is None:
        failure = encoded.failures[scorable.key]
        field_name = "text" if isinstance(scorable.event, SocialPost) else "item_text"
        fix = f"the model failed on this text alone: {failure}; redrive the letter after the model is mended"
        raise InvalidRecord(Reason.MODEL_FAILED, field_name, scorable.text or "", fix)
    return answer


def _scored(post: SocialPost, answer: Answer, model: ModelName, fingerprint: str) -> ScoredPost:
    negative, neutral, positive = _rounded(answer.sentiment)
    return ScoredPost(
        event_id=post.event_id,
        entity="",
        event_time_ms=post.event_time_ms,
        available_at_ms=post.available_at_ms,
        author_id=post.author_id,
        text=post.text[:MAX_CHARS],  # what a model reads at most; the rest, once for every entity, would flood the topic
        sentiment=Sentiment(negative=negative, neutral=neutral, positive=positive),
        intents=dict(zip(model.intent_names, _rounded(answer.intents), strict=True)),
        simhash=fingerprint,
        model=model.model,
        model_revision=model.revision,
        language=post.language,
        source=post.source,
        repost_of=post.repost_of,
        author_created_ms=post.author_created_ms,
        followers=post.followers,
        url=post.url,
    )


def _rounded(probabilities: Vectors) -> list[float]:
    return [round(min(1.0, max(0.0, probability)), DECIMALS) for probability in probabilities.tolist()]
