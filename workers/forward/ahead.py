"""Keep everybody busy: texts are tokenised, batches begun, while the answers of the ones before are on their way."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Final, Protocol, TypeVar, runtime_checkable

from workers.encoder import Encoder, Encodings, TokenIds

Value = TypeVar("Value")
TOKENS: Final = 8_192  # of a batch, for who does not say what is worth it
TEXTS: Final = 1_024  # at once through the tokenizer
THREADS: Final = 3  # the tokenizer's own work needs no interpreter, what is before and after it does


@runtime_checkable
class Starting(Encoder, Protocol):
    """An encoder whose device works by itself."""

    @property
    def at_once(self) -> int:
        """Return how many tokens are worth giving it together."""

    def start(self, tokens: Sequence[TokenIds]) -> Callable[[], Encodings]:
        """Begin with a batch; return a call that waits for its answers. Both raise MemoryError when it does not fit."""


Batch = list[TokenIds]


def answered(encoder: Encoder, texts: Sequence[str]) -> Iterator[tuple[Batch, Encodings]]:
    """Yield normal forms, some at a time, as their token ids and their answers."""
    at_once = encoder.at_once if isinstance(encoder, Starting) else TOKENS
    begun = (_begun(encoder, batch) for batch in _batches(tokenized(encoder, texts), at_once))
    yield from in_flight(begun, 1)


def _begun(encoder: Encoder, batch: Batch) -> Callable[[], tuple[Batch, Encodings]]:
    wait = encoder.start(batch) if isinstance(encoder, Starting) else partial(encoder.encode, batch)
    return lambda: (batch, wait())


def tokenized(encoder: Encoder, texts: Sequence[str]) -> Iterator[TokenIds]:
    """Yield the token ids of each text; the next ones are made while the caller works on these."""
    with ThreadPoolExecutor(THREADS) as pool:
        begun = (pool.submit(encoder.tokenize, texts[start : start + TEXTS]).result for start in range(0, len(texts), TEXTS))
        yield from chain.from_iterable(in_flight(begun, THREADS))


def in_flight(begun: Iterable[Callable[[], Value]], ahead: int) -> Iterator[Value]:
    """Yield what each call waits for, in their order; ``ahead`` more have begun by then."""
    coming: deque[Callable[[], Value]] = deque()
    for wait in begun:
        coming.append(wait)
        if len(coming) > ahead:
            yield coming.popleft()()
    while coming:
        yield coming.popleft()()


def _batches(tokens: Iterable[TokenIds], at_once: int) -> Iterator[Batch]:
    batch: Batch = []
    total = 0
    for ids in tokens:
        if batch and total + len(ids) > at_once:
            yield batch
            batch, total = [], 0
        batch.append(ids)
        total += len(ids)
    yield batch
