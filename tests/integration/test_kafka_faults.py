"""What source and sink do when the broker goes away: a broker of these tests' own, which they end."""

import gc
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from time import time

import pytest
from kafka import TopicPartition as ClientPartition

from infra.kafka_server import KafkaServer
from infra.processes import Started, running, stop
from infra.runtime import java_binary, kafka_jars
from pipeline.adapters.kafka_admin import KafkaAdmin, TopicState
from pipeline.adapters.kafka_sink import KafkaSink
from pipeline.adapters.kafka_source import KafkaSource
from pipeline.adapters.streams import TopicPartition
from pipeline.adapters.waiting import wait_until
from pipeline.errors import Unavailable
from pipeline.settings import KafkaSettings
from pipeline.telemetry import Metrics
from tests.ports import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(400)]
NOW_MS = int(time() * 1000)
DELIVERY_MS = 8_000  # a broker that has just started takes its time for the first record, more on a busy machine


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Close the sockets that the client leaks, one for every attempt to reconnect: Python warns of each."""
    before = {id(each) for each in open_sockets()}
    yield
    for each in open_sockets():
        if id(each) not in before:
            each.close()


def open_sockets() -> list[socket.socket]:
    return [each for each in gc.get_objects() if type(each) is socket.socket and each.fileno() != -1]


@pytest.fixture
def doomed(cache: Path, tmp_path: Path) -> Iterator[tuple[KafkaServer, Started, ExitStack]]:
    heap = "-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"
    port, controller_port = free_ports(2)
    server = KafkaServer(tmp_path, java_binary(), kafka_jars(cache), port, controller_port, heap)
    server.prepare()
    with ExitStack() as stack:
        yield server, stack.enter_context(running(server, str(tmp_path))), stack


def test_flush_tells_how_many_are_lost_and_the_same_sink_and_source_go_on_afterwards(
    no_leaks: None, doomed: tuple[KafkaServer, Started, ExitStack]
) -> None:
    server, process, stack = doomed
    settings = KafkaSettings(bootstrap=server.bootstrap, delivery_timeout_ms=DELIVERY_MS, session_timeout_ms=6_000)
    with KafkaAdmin(settings) as admin:
        admin.create([TopicState("t", 1, 1, {})])
    sink, source = KafkaSink(settings), KafkaSource(settings, "g", ["t"])
    sink.write("t", b"k", b"before", NOW_MS)
    sink.flush()
    assert wait_until(lambda: [r.value for r in source.poll(10, 200)] == [b"before"], 30.0)
    stop(process)
    for _ in range(3):
        sink.write("t", b"k", b"lost", NOW_MS)
    with pytest.raises(Unavailable, match="3 of 3 records"):
        sink.flush()
    assert list(source.poll(10, 200)) == []
    with pytest.raises(Unavailable):
        source.commit({TopicPartition("t", 0): 1})
    stack.enter_context(running(server, str(server.folder)))
    assert wait_until(lambda: delivered(sink, b"after"), 60.0)
    assert wait_until(lambda: b"after" in [r.value for r in source.poll(10, 500)], 60.0)
    source.commit({TopicPartition("t", 0): 2})
    source.close()
    sink.close()


def delivered(sink: KafkaSink, value: bytes) -> bool:
    """Write once and tell whether it arrived: a broker that has just come back may still need longer than the timeout."""
    sink.write("t", b"k", value, NOW_MS)
    try:
        sink.flush()
    except Unavailable:
        return False
    return True


def test_what_was_committed_is_told_as_soon_as_the_broker_is_back(doomed: tuple[KafkaServer, Started, ExitStack]) -> None:
    """It opens its port before it has read its commits: `status` right after `up` must not miss them."""
    server, process, stack = doomed
    settings = KafkaSettings(bootstrap=server.bootstrap)
    with KafkaAdmin(settings) as admin:
        assert admin.committed("g") == {}
        admin.create([TopicState("t", 1, 1, {})])
    with closing(KafkaSink(settings)) as sink:
        sink.write("t", b"k", b"v", NOW_MS)
    with closing(KafkaSource(settings, "g", ["t"])) as source:
        assert wait_until(lambda: len(source.poll(10, 200)) == 1, 60.0)
        source.commit({TopicPartition("t", 0): 1})
    stop(process)
    stack.enter_context(running(server, str(server.folder)))
    with KafkaAdmin(settings) as admin:
        assert admin.committed("g") == {TopicPartition("t", 0): 1}


def test_nobody_at_the_address_is_unavailable(unused_port: int) -> None:
    settings = KafkaSettings(bootstrap=f"127.0.0.1:{unused_port}")
    with pytest.raises(Unavailable, match=str(unused_port)):
        KafkaSink(settings)
    with pytest.raises(Unavailable, match=str(unused_port)):
        KafkaSource(settings, "g", ["t"])


def test_a_partition_that_stopped_delivering_is_sought_again_and_then_read_by_a_new_consumer(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    settings, metrics = KafkaSettings(bootstrap=kafka_bootstrap, stall_timeout_s=2.0), Metrics()
    topic = f"{topic_prefix}t"
    with KafkaAdmin(settings) as admin:
        admin.create([TopicState(topic, 1, 1, {})])
    sink, source = KafkaSink(settings), KafkaSource(settings, f"{topic_prefix}g", [topic], metrics)
    sink.write(topic, b"k", b"first", NOW_MS)
    sink.flush()
    assert wait_until(lambda: [r.value for r in source.poll(10, 200)] == [b"first"], 30.0)
    source.commit({TopicPartition(topic, 0): 1})
    stalls = partial(metrics.registry.get_sample_value, "groundswell_stalls_total")
    before = stalls() or 0.0  # a join that takes long counts as well
    source._consumer.pause(ClientPartition(topic, 0))  # the library's fault: nothing comes, and nobody told it to pause
    sink.write(topic, b"k", b"second", NOW_MS)
    sink.close()
    assert wait_until(lambda: [r.value for r in source.poll(10, 200)] == [b"second"], 90.0)
    assert (stalls() or 0.0) >= before + 2
    source.close()
