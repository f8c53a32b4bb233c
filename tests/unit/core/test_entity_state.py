from pipeline.core.detector_config import DetectorConfig
from pipeline.core.entity_state import STATE_VERSION, decode, encode
from pipeline.core.spikes import NegativeSpikeOperator
from pipeline.jobs.trends import TrendHost
from tests.unit.core.old_states import as_version_1
from tests.unit.core.streams import eventful

CONFIG = DetectorConfig()


def states() -> dict[str, bytes]:
    host = TrendHost(NegativeSpikeOperator(CONFIG), CONFIG.out_of_orderness_ms)
    for post in eventful():
        host.on_post(post)
    return host.snapshot()[1]


def test_decoding_and_encoding_again_gives_the_same_bytes() -> None:
    for encoded in states().values():
        assert encode(decode(encoded, CONFIG)) == encoded


def test_a_state_of_version_1_is_migrated() -> None:
    """Version 1 did not know the entity's own rate of episodes."""
    for encoded in states().values():
        state = decode(as_version_1(encoded), CONFIG)
        assert state.decided.own_rate is not None
        assert state.decided.own_rate.as_of_ms == state.decided.time_ms
        assert encode(state)[:2] == STATE_VERSION.to_bytes(2, "big")


def test_a_state_is_small() -> None:
    assert max(map(len, states().values())) < 64 * 1024
