"""Topics as the one table wants them: what differs on a broker, and how to mend it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Final

from pipeline.adapters.kafka_admin import KafkaAdmin, TopicState
from pipeline.topics import TOPICS, Topic

BATCH_OVERHEAD_BYTES: Final = 4096  # the broker limits batches: what Kafka adds to one record, with room for headers
MISSING: Final = "(missing)"
CREATE: Final = "groundswell provision"
APPLY: Final = "groundswell provision --apply"


@dataclass(frozen=True, slots=True)
class Difference:
    """One property of one topic that is not as in the table. ``fix`` is a command, or says why there is none."""

    topic: str
    property: str
    expected: str
    found: str
    fix: str

    def as_dict(self) -> dict[str, str]:
        """Return the fields for JSON."""
        return asdict(self)


def expected_topics(prefix: str, replication_factor: int) -> list[TopicState]:
    """Return the table's topics as they must stand on the broker."""
    return [
        TopicState(topic.full_name(prefix), topic.partitions, replication_factor, expected_configs(topic)) for topic in TOPICS
    ]


def expected_configs(topic: Topic) -> dict[str, str]:
    """Return the broker's names and values of the table's properties."""
    return {
        "retention.ms": str(topic.retention_ms),
        "cleanup.policy": topic.cleanup_policy,
        "max.message.bytes": str(topic.max_record_bytes + BATCH_OVERHEAD_BYTES),
        "message.timestamp.type": "CreateTime",  # a record's timestamp is its event time, whatever the broker's default
    }


def differences(expected: Iterable[TopicState], found: Mapping[str, TopicState]) -> list[Difference]:
    """Return what differs, topic by topic, in the table's order."""
    return [each for topic in expected for each in _of_topic(topic, found.get(topic.name))]


def provision(admin: KafkaAdmin, expected: Iterable[TopicState], *, apply: bool) -> tuple[list[str], list[Difference]]:
    """Create the missing topics, and with ``apply`` set differing settings; return what was done and what still differs.

    Partitions and copies of a topic with records are never changed: see the fix of each difference.
    """
    wanted = list(expected)
    found = admin.describe(topic.name for topic in wanted)
    missing = [topic for topic in wanted if topic.name not in found]
    admin.create(missing)
    done = [f"created {topic.name}" for topic in missing]
    if apply:
        done += _apply(admin, wanted, found)
    return done, differences(wanted, admin.describe(topic.name for topic in wanted))


def _apply(admin: KafkaAdmin, wanted: Iterable[TopicState], found: Mapping[str, TopicState]) -> list[str]:
    done = []
    for topic in wanted:
        if topic.name not in found:
            continue
        differing = {name: value for name, value in topic.configs.items() if found[topic.name].configs.get(name) != value}
        if differing:
            admin.configure(topic.name, differing)
            done.append(f"set {', '.join(f'{name}={value}' for name, value in differing.items())} of {topic.name}")
    return done


def _of_topic(expected: TopicState, found: TopicState | None) -> list[Difference]:
    if found is None:
        return [Difference(expected.name, "topic", f"{expected.partitions} partitions", MISSING, CREATE)]
    differing = [
        Difference(expected.name, name, value, found.configs.get(name, MISSING), APPLY)
        for name, value in expected.configs.items()
        if found.configs.get(name) != value
    ]
    if found.partitions != expected.partitions:
        fix = _why_not_repartition(expected, found)
        differing.append(Difference(expected.name, "partitions", str(expected.partitions), str(found.partitions), fix))
    if found.replication_factor != expected.replication_factor:
        fix = f"export GROUNDSWELL_KAFKA__REPLICATION_FACTOR={found.replication_factor}"
        copies = str(expected.replication_factor), str(found.replication_factor)
        differing.append(Difference(expected.name, "replication.factor", *copies, fix))
    return differing


def _why_not_repartition(expected: TopicState, found: TopicState) -> str:
    """Say why the number of partitions stays, and what to do instead."""
    instead = "begin again under other names: GROUNDSWELL_KAFKA__TOPIC_PREFIX=NEW. groundswell provision"
    if found.partitions > expected.partitions:
        return f"refused: Kafka cannot take partitions away; {instead}"
    key = next(topic.key for topic in TOPICS if expected.name.endswith(topic.name))
    return f"refused: more partitions would move every {key} to another partition and break its order; {instead}"
