"""The device when it is short of memory, or broken."""

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.telemetry import Metrics
from workers.batching import BatchLimits
from workers.encoder import Encodings, TokenIds
from workers.encoding import GROWS_AFTER, Device
from workers.fake_encoder import FakeEncoder
from workers.result_cache import ResultCache

LENGTH = 8


class Roomy(FakeEncoder):
    """Takes ``room`` tokens at once, once the first ``refusals`` calls are over; notes what it was asked for."""

    def __init__(self, room: int = 10**6, refusals: int = 0) -> None:
        super().__init__()
        self.room = room
        self.refusals = refusals
        self.sizes: list[int] = []

    def encode(self, tokens: Sequence[TokenIds]) -> Encodings:
        self.sizes.append(sum(map(len, tokens)))
        self.refusals -= 1
        if self.sizes[-1] > self.room or self.refusals >= 0:
            raise MemoryError(f"{self.sizes[-1]} tokens do not fit")
        return super().encode(tokens)


def device(encoder: FakeEncoder) -> Device:
    return Device(encoder, ResultCache(0, "r"), BatchLimits(max_tokens=256), Metrics())


def texts(count: int, chunk: int = 0) -> dict[bytes, TokenIds]:
    return {b"%d %d" % (chunk, number): np.arange(LENGTH, dtype=np.int32) for number in range(count)}


def test_one_lack_of_memory_halves_the_budget_once_however_many_batches_were_cut() -> None:
    room, sizes = 128, []

    class Small(FakeEncoder):
        def encode(self, tokens: Sequence[TokenIds]) -> Encodings:
            sizes.append(sum(map(len, tokens)))
            if sizes[-1] > room:
                raise MemoryError(f"{sizes[-1]} tokens do not fit")
            return super().encode(tokens)

    device = Device(Small(), ResultCache(0, "r"), BatchLimits(max_tokens=256), Metrics())
    for chunk in range(2):
        texts = {bytes([chunk, number]): np.arange(8, dtype=np.int32) for number in range(200)}
        assert device.encode(texts).answers.keys() == texts.keys()
    assert [size for size in sizes if size > room] == [256]
    assert sizes.count(room) == 2 * 12  # 1,600 tokens a chunk


def test_one_batch_halves_the_budget_once_however_small_the_room_is() -> None:
    encoder = Roomy(room=16)
    own = device(encoder)
    own.encode(texts(32))
    encoder.room, encoder.sizes = 10**6, []
    own.encode(texts(64, chunk=1))
    assert encoder.sizes == [128] * 4


def test_the_budget_grows_to_what_is_configured_when_the_lack_is_over() -> None:
    encoder = Roomy(room=128)
    own = device(encoder)
    own.encode(texts(32))
    encoder.room = 10**6
    for chunk in range(GROWS_AFTER):
        own.encode(texts(16, chunk))
    encoder.sizes = []
    own.encode(texts(128))
    assert encoder.sizes == [256] * 4


def test_a_lone_text_that_does_not_fit_is_tried_once_more() -> None:
    encoded = device(Roomy(refusals=1)).encode(texts(1))
    assert (len(encoded.answers), encoded.failures) == (1, {})


def test_a_device_that_stays_full_blames_no_text() -> None:
    with pytest.raises(ModelError, match="MemoryError: 8 tokens do not fit"):
        device(Roomy(room=0)).encode(texts(20))


def test_a_text_that_is_too_long_for_the_device_alone_is_blamed() -> None:
    own = device(Roomy(room=LENGTH))
    long = {b"long": np.arange(LENGTH + 1, dtype=np.int32)}
    assert own.encode(texts(3) | long).failures.keys() == long.keys()


def test_a_model_of_which_every_number_is_broken_is_not_taken_for_broken_texts() -> None:
    class Blank(FakeEncoder):
        def encode(self, tokens: Sequence[TokenIds]) -> Encodings:
            encodings = super().encode(tokens)
            encodings.vectors[:] = np.nan
            return encodings

    with pytest.raises(ModelError, match="finite"):
        device(Blank()).encode(texts(2))


def test_a_device_that_breaks_in_the_middle_of_a_chunk_stops_it() -> None:
    class Breaking(Roomy):
        def encode(self, tokens: Sequence[TokenIds]) -> Encodings:
            encodings = super().encode(tokens)
            if len(self.sizes) > 2:
                raise RuntimeError("kernel died")
            return encodings

    with pytest.raises(ModelError, match="kernel died"):
        device(Breaking()).encode(texts(200))
