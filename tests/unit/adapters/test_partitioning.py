from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as reference

from pipeline.adapters.partitioning import murmur2, partition_for


@given(st.binary(max_size=80))
def test_murmur2_agrees_with_the_client_library(data: bytes) -> None:
    assert murmur2(data) == reference(data)


@given(st.binary(min_size=1, max_size=40), st.integers(1, 64))
def test_partition_is_the_one_the_default_partitioner_takes(key: bytes, partitions: int) -> None:
    assert partition_for(key, partitions) == (reference(key) & 0x7FFFFFFF) % partitions
