"""From records to what must be encoded: decode, bring texts to their normal form, answer from the cache, tokenise the rest."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from pipeline.adapters.streams import Record, TopicPartition
from pipeline.core.shouting import calmed
from pipeline.core.text import normalise
from pipeline.errors import InvalidRecord, Reason
from pipeline.events import BehaviorEvent, SocialPost
from workers.decoding import Decoded, Event, Rejected, decode, rejected
from workers.encoder import Encoder, TokenIds
from workers.result_cache import Answer, ResultCache
from workers.rules import TopicNames


@dataclass(frozen=True, slots=True)
class Scorable:
    """A decoded record, its text's normal form, and the key of what the encoder reads of that; both None where it has no text."""

    record: Record
    event: Event
    text: str | None
    key: bytes | None


@dataclass(slots=True)
class Chunk:
    """Records on their way to the device together. ``answers`` by key; ``missing``: the tokens of texts without an answer yet.

    since_s: when the first of them were polled, by the worker's monotonic clock.
    repeated: how many came again while the chunk was gathered, and were left out. last: offsets, by partition.
    """

    records: Sequence[Record]
    since_s: float = 0.0
    repeated: int = 0
    scorables: list[Scorable] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    answers: dict[bytes, Answer] = field(default_factory=dict)
    missing: dict[bytes, TokenIds] = field(default_factory=dict)
    last: dict[TopicPartition, int] = field(init=False)

    def __post_init__(self) -> None:
        """Note the last offsets; records are in order per partition."""
        self.last = {record.topic_partition: record.offset for record in self.records}

    def join(self, later: "Chunk") -> None:
        """Take in what a later poll brought; a text that both miss is encoded once.

        Records that stand here already are left out: they come again where a partition goes and comes back in between.
        """
        if not self.records:
            self.since_s = later.since_s
        again = {id(record) for record in later.records if record.offset <= self.last.get(record.topic_partition, -1)}
        if again:
            later = later.without(again)
        self.repeated += len(again)
        self.records = [*self.records, *later.records]
        self.last |= later.last
        self.scorables += later.scorables
        self.rejected += later.rejected
        self.answers |= later.answers
        self.missing |= later.missing

    def without(self, records: Set[int]) -> "Chunk":
        """Return this chunk without the records of these identities; their texts may stay."""
        return replace(
            self,
            records=[record for record in self.records if id(record) not in records],
            scorables=[one for one in self.scorables if id(one.record) not in records],
            rejected=[one for one in self.rejected if id(one.record) not in records],
        )


class Preparation:
    """Prepares chunks for one encoder and one cache."""

    def __init__(self, encoder: Encoder, cache: ResultCache, topics: TopicNames) -> None:
        self._encoder = encoder
        self._cache = cache
        self._contracts: Mapping[str, type[Event]] = {topics.posts: SocialPost, topics.events: BehaviorEvent}

    def prepare(self, records: Sequence[Record], now_ms: int) -> Chunk:
        """Return the chunk of these records; a text that stands in it twice is encoded once."""
        chunk = Chunk(records)
        texts: dict[bytes, str] = {}
        for answer in decode(records, self._contracts, now_ms):
            ready = self._with_text(answer, texts, now_ms) if isinstance(answer, Decoded) else answer
            if isinstance(ready, Rejected):
                chunk.rejected.append(ready)
                continue
            chunk.scorables.append(ready)
        self._look_up(chunk, texts)
        return chunk

    def _with_text(self, decoded: Decoded, texts: dict[bytes, str], now_ms: int) -> Scorable | Rejected:
        """Return the record ready; what the encoder reads of its text stands in ``texts`` by its key then."""
        event = decoded.event
        written = event.text if isinstance(event, SocialPost) else event.item_text
        text = None if written is None else normalise(written)
        if text:
            read = calmed(text)
            key = self._cache.key(read)
            texts.setdefault(key, read)
            return Scorable(decoded.record, event, text, key)
        if isinstance(event, SocialPost):
            fix = "holds only invisible characters; a post needs text to be scored"
            return rejected(decoded.record, InvalidRecord(Reason.EMPTY_TEXT, "text", repr(written), fix), now_ms)
        return Scorable(decoded.record, event, None, None)

    def _look_up(self, chunk: Chunk, texts: Mapping[bytes, str]) -> None:
        for key in texts:
            answer = self._cache.get(key)
            if answer is not None:
                chunk.answers[key] = answer
        missing = [key for key in texts if key not in chunk.answers]
        if missing:
            tokens = self._encoder.tokenize([texts[key] for key in missing])
            chunk.missing = dict(zip(missing, tokens, strict=True))
