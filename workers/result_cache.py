"""Answers of the model by text, bounded in bytes, least recently used first out.

The key is the hash of what an encoder reads of a text, with the model's revision: what is hashed is what is encoded. Reposts
and repeated item titles are answered here, before tokenisation. Two threads use it: the loop looks up, the device thread stores.
"""

from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

from pipeline.core.text import content_key
from workers.encoder import Vectors

OVERHEAD_BYTES = 640  # of an entry besides its numbers: three array headers, key, tuple, place in the table


class Answer(NamedTuple):
    """The model's answers to one text. vector: (384,), sentiment: (3,), intents: (k,)."""

    vector: Vectors
    sentiment: Vectors
    intents: Vectors


class ResultCache:
    """Keeps at most ``max_bytes`` of answers; 0 keeps none."""

    def __init__(self, max_bytes: int, revision: str) -> None:
        self._max_bytes = max_bytes
        self._revision = revision.encode()
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()
        self._lock = Lock()
        self.bytes = 0

    def key(self, normalised: str) -> bytes:
        """Return the key of a text as an encoder reads it."""
        return content_key(normalised) + self._revision

    def get(self, key: bytes) -> Answer | None:
        """Return the answer and mark it as just used."""
        with self._lock:
            answer = self._answers.get(key)
            if answer is not None:
                self._answers.move_to_end(key)
            return answer

    def put(self, key: bytes, answer: Answer) -> None:
        """Keep an answer; drop those that were not used for the longest time."""
        size = _size(answer)
        if size > self._max_bytes:
            return
        with self._lock:
            standing = self._answers.pop(key, None)
            if standing is not None:
                self.bytes -= _size(standing)
            self._answers[key] = answer
            self.bytes += size
            while self.bytes > self._max_bytes:
                self.bytes -= _size(self._answers.popitem(last=False)[1])

    def __len__(self) -> int:
        """Return the number of answers kept."""
        return len(self._answers)


def _size(answer: Answer) -> int:
    return OVERHEAD_BYTES + answer.vector.nbytes + answer.sentiment.nbytes + answer.intents.nbytes
