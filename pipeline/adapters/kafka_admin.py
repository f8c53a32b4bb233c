"""What an operator asks of Kafka: topics, their settings, offsets and versions. Streams: ``kafka_source``, ``kafka_sink``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from kafka import KafkaAdminClient
from kafka import TopicPartition as ClientPartition
from kafka.admin import ConfigResource, OffsetSpec
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupIdNotFoundError,
    InvalidReplicationFactorError,
    KafkaError,
    NotCoordinatorError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)

from pipeline.adapters.kafka_client import client_options, require_broker, translated
from pipeline.adapters.streams import TopicPartition
from pipeline.adapters.waiting import wait_until
from pipeline.errors import ConfigurationError, Unavailable
from pipeline.settings import KafkaSettings

CONNECT_TIMEOUT_MS: Final = 5_000
SHOWN_TIMEOUT_S: Final = 10.0
OFFSETS_TOPIC: Final = "__consumer_offsets"


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it stands on the broker. ``configs`` holds every setting in force, as text."""

    name: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str]


class KafkaAdmin:
    """A connection for administration; use it as a context manager.

    Where no broker answers, also later on, it raises Unavailable; where one refuses, ConfigurationError.
    """

    def __init__(self, settings: KafkaSettings, connect_timeout_ms: int = CONNECT_TIMEOUT_MS) -> None:
        self._settings = settings
        require_broker(settings, connect_timeout_ms / 1000)
        with translated("administration", settings):
            self._client = KafkaAdminClient(**client_options(settings) | {"bootstrap_timeout_ms": connect_timeout_ms})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()
        if isinstance(error, KafkaError):
            with translated("administration", self._settings):
                raise error

    def topics(self) -> list[str]:
        """Return the names of all topics."""
        return sorted(self._client.list_topics())

    def describe(self, names: Iterable[str]) -> dict[str, TopicState]:
        """Return those of the topics that exist."""
        described = [each for each in self._client.describe_topics(list(names)) if each["error_code"] == 0]
        if not described:
            return {}
        resources = [ConfigResource("TOPIC", each["name"]) for each in described]
        configs = self._client.describe_configs(resources, config_filter="all")["topic"]
        return {each["name"]: _state(each, configs[each["name"]]) for each in described}

    def topic_ids(self, names: Iterable[str]) -> dict[str, str]:
        """Return what tells each topic from one of the same name that stood there before, or stands elsewhere.

        Raises ConfigurationError where one does not exist.
        """
        ids = {}
        for each in self._client.describe_topics(list(names)):
            if each["error_code"] == UnknownTopicOrPartitionError.errno:
                raise ConfigurationError(f"topic {each['name']!r} does not exist; `groundswell provision` creates the topics")
            ids[each["name"]] = str(each["topic_id"])
        return ids

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return those of the topics that do not exist, in the order given."""
        asked = list(names)
        codes = {each["name"]: each["error_code"] for each in self._client.describe_topics(asked)}
        return [name for name in asked if codes.get(name) == UnknownTopicOrPartitionError.errno]

    def create(self, topics: Iterable[TopicState]) -> None:
        """Create topics with the given partitions, replication and settings, and wait until they can be used.

        Raises ConfigurationError where there are fewer brokers than copies, Unavailable where somebody else creates them too.
        """
        wanted: dict[str, dict[str, Any]] = {
            each.name: {
                "num_partitions": each.partitions,
                "replication_factor": each.replication_factor,
                "configs": dict(each.configs),
            }
            for each in topics
        }
        if not wanted:
            return
        try:
            self._client.create_topics(wanted, wait_for_metadata=True)
        except InvalidReplicationFactorError as error:
            brokers, copies = len(self._client.describe_cluster()["brokers"]), self._settings.replication_factor
            what = f"GROUNDSWELL_KAFKA__REPLICATION_FACTOR = {copies}: Kafka at {self._settings.bootstrap} has {brokers} brokers"
            raise ConfigurationError(what, f"set it to {brokers} at most") from error
        except TopicAlreadyExistsError as error:
            raise Unavailable(f"another process creates {', '.join(wanted)} at this moment; try again") from error

    def configure(self, name: str, configs: Mapping[str, str]) -> None:
        """Set some settings of a topic, the others stay; return when the broker shows them (its metadata lags behind)."""

        def shown() -> bool:
            return configs.items() <= self.describe([name])[name].configs.items()

        self._client.alter_configs([ConfigResource("TOPIC", name, dict(configs))], incremental=True)
        if not wait_until(shown, SHOWN_TIMEOUT_S):
            raise Unavailable(f"topic {name} does not show {dict(configs)} after {SHOWN_TIMEOUT_S:g} s; try again")

    def delete(self, names: Iterable[str]) -> None:
        """Delete topics with all their records."""
        doomed = list(names)
        if doomed:
            self._client.delete_topics(doomed)

    def offsets(self, names: Iterable[str]) -> dict[TopicPartition, tuple[int, int]]:
        """Return first offset and next offset to be written, by partition of those topics that exist."""
        partitions = [
            ClientPartition(name, partition)
            for name, state in self.describe(names).items()
            for partition in range(state.partitions)
        ]
        if not partitions:
            return {}
        first = self._client.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
        end = self._client.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
        return {TopicPartition(*each): (first[each].offset, end[each].offset) for each in partitions}

    def committed(self, group: str) -> dict[TopicPartition, int]:
        """Return the next offset to read by partition; a group that never committed has none.

        A broker that has just started accepts connections before it has read its commits back: then this waits.
        """
        found: dict[ClientPartition, Any] = {}

        def told() -> bool:
            try:
                found.update(self._client.list_group_offsets([group]).get(group, {}))
            except (CoordinatorLoadInProgressError, NotCoordinatorError):
                return False
            except CoordinatorNotAvailableError:
                return OFFSETS_TOPIC not in self._client.list_topics()  # not made yet: nobody ever committed
            return True

        if not wait_until(told, SHOWN_TIMEOUT_S):
            raise Unavailable(f"Kafka has not read the commits of group {group} after {SHOWN_TIMEOUT_S:g} s; try again")
        return {TopicPartition(*partition): at.offset for partition, at in found.items() if at.offset >= 0}

    def members(self, group: str) -> int:
        """Return how many members a consumer group has now."""
        try:
            return len(self._client.describe_groups([group])[group]["members"])
        except (CoordinatorNotAvailableError, GroupIdNotFoundError):
            return 0

    def broker_version(self) -> tuple[int, int]:
        """Return the release of which the broker speaks the protocol, as far as the client knows releases."""
        major, minor = self._client.get_broker_version_data(self._controller()).broker_version[:2]
        return major, minor

    def broker_configs(self) -> dict[str, str]:
        """Return the settings in force on one broker, as text."""
        broker = str(self._controller())
        found = self._client.describe_configs([ConfigResource("BROKER", broker)], config_filter="all")
        return _values(found["broker"][broker])

    def _controller(self) -> int:
        node: int = self._client.describe_cluster()["controller_id"]
        return node


def _state(described: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]]) -> TopicState:
    partitions = described["partitions"]
    replicas = min((len(each["replica_nodes"]) for each in partitions), default=0)
    return TopicState(described["name"], len(partitions), replicas, _values(configs))


def _values(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Drop what the broker keeps secret (its value is None)."""
    return {name: config["value"] for name, config in configs.items() if config["value"] is not None}
