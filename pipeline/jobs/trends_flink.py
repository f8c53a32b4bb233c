"""The Flink job: Kafka tables in and out, and the trend operator between them. Wiring only.

Sources and sinks are SQL tables, because they alone give a Python job the record's key, timestamp and position, and set
them on what it writes. Event time is the record's timestamp, with a watermark per partition; no Python code assigns it.
What the sinks write is committed with the checkpoint that holds the state it came from, one Kafka transaction each. So a killed
task takes back what it told since then, and readers of committed records see one history, one checkpoint interval later.
"""

import sys
from pathlib import Path

from pyflink.common import Configuration, Types
from pyflink.datastream import DataStream, KeyedStream, OutputTag, StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.table import StreamTableEnvironment

from pipeline.core.market_rules import OFF
from pipeline.jobs.market_function import MarketFunction
from pipeline.jobs.trends_function import BUFFERED, LATE, PANES, RESULT, TrendFunction
from pipeline.jobs.trends_job import TrendsJob

TRANSACTION_TIMEOUT_MS = 900_000  # the most that brokers allow by default
SCORED = Types.ROW([Types.STRING(), BUFFERED, Types.INSTANT()])


def main(arguments: list[str]) -> None:
    """Build and submit the job that the JSON file named by the one argument describes."""
    job = TrendsJob.model_validate_json(Path(arguments[0]).read_bytes())
    environment = StreamExecutionEnvironment.get_execution_environment(_configuration(job))
    environment.set_parallelism(job.parallelism)
    tables = StreamTableEnvironment.create(environment)
    tables.get_config().set("table.exec.uid.generation", "ALWAYS")  # so that a savepoint fits the next submission
    tables.get_config().set("table.local-time-zone", "UTC")
    results = _keyed(_scored(tables, job)).process(TrendFunction(job), RESULT).uid("trends").name("trend operator")
    told = [results, _side_output(results, LATE)]
    if job.detector.market.groups != OFF:
        told.append(_markets(_side_output(results, PANES), job))
    _write(tables, told[0].union(*told[1:]), job)
    environment.execute(job.name)


def _configuration(job: TrendsJob) -> Configuration:
    configuration = Configuration()
    for name, value in {
        "python.execution-mode": job.execution_mode,
        "python.fn-execution.bundle.size": str(job.bundle_records),
        "python.fn-execution.bundle.time": str(job.bundle_ms),
        "pipeline.auto-watermark-interval": f"{job.watermark_interval_ms} ms",
        "execution.checkpointing.interval": f"{job.checkpoint_interval_ms} ms",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.tolerable-failed-checkpoints": "3",
        "restart-strategy.type": "none" if job.bounded else "exponential-delay",  # a bounded run is simply run again
        "restart-strategy.exponential-delay.initial-backoff": "1 s",
        "restart-strategy.exponential-delay.max-backoff": "30 s",
    }.items():
        configuration.set_string(name, value)
    return configuration


def _scored(tables: StreamTableEnvironment, job: TrendsJob) -> DataStream:
    """Return rows of (entity, (payload, partition, offset), event time); posts that name nobody only move the watermark."""
    options = {
        "scan.startup.mode": "earliest-offset",
        "scan.watermark.idle-timeout": f"{job.empty_after_ms} ms",
        "properties.group.id": job.group,
        "properties.max.partition.fetch.bytes": "262144",  # keeps the partitions of a replay near each other in event time
        **({"scan.bounded.mode": "latest-offset"} if job.bounded else {}),
    }
    tables.execute_sql(f"""
        CREATE TEMPORARY TABLE scored (
            entity STRING, payload BYTES, `at` TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
            `partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL,
            WATERMARK FOR `at` AS `at` - INTERVAL '{_interval(job.detector.out_of_orderness_ms)}' DAY TO SECOND(3)
        ) WITH ({_kafka(job, job.scored, options)})""")
    post = "ROW(DECODE(payload, 'ISO-8859-1'), `partition`, `offset`) AS post"
    query = f"SELECT entity, {post}, `at` FROM scored WHERE entity <> ''"
    return tables.to_append_stream(tables.sql_query(query), SCORED)


def _keyed(rows: DataStream) -> KeyedStream:
    """Key rows whose first field is the key and whose second is the value.

    ``DataStream.key_by`` would send every record through one more Python process, only to compute this very shape; Flink's
    own selector reads the first field in Java.
    """
    selector = get_gateway().jvm.KeyByKeySelector()
    keys = Types.ROW([Types.STRING()]).get_java_type_info()
    return KeyedStream(rows._j_data_stream.keyBy(selector, keys), BUFFERED, rows)


def _side_output(results: DataStream, tag: OutputTag) -> DataStream:
    """Return a side output as it comes from Java: ``DataStream.get_side_output`` would use one more Python process."""
    return DataStream(results._j_data_stream.getSideOutput(tag.get_java_output_tag()))


def _markets(panes: DataStream, job: TrendsJob) -> DataStream:
    """Return what the groups of entities say."""
    return _keyed(panes).process(MarketFunction(job), RESULT).uid("markets").name("market operator")


def _write(tables: StreamTableEnvironment, results: DataStream, job: TrendsJob) -> None:
    """Send each result to the topic it names.

    All come as one view, late posts too: Flink numbers the nodes of its plan, and a sink with another number finds no state in a
    savepoint of an earlier release.
    """
    tables.create_temporary_view("results", results)
    statements = tables.create_statement_set()
    for name in ("trends", "alerts", "late", "dead_letters"):
        topic = getattr(job, name)
        tables.execute_sql(f"""
            CREATE TEMPORARY TABLE {name} (entity STRING, payload STRING, `at` TIMESTAMP_LTZ(3) METADATA FROM 'timestamp')
            WITH ({_kafka(job, topic, _exactly_once(topic))})""")
        statements.add_insert_sql(
            f"INSERT INTO {name} SELECT entity, payload, TO_TIMESTAMP_LTZ(at_ms, 3) FROM results WHERE topic = {_text(topic)}"
        )
    statements.attach_as_datastream()


def _exactly_once(topic: str) -> dict[str, str]:
    """Return the options of a sink that commits with checkpoints.

    Its transactions' ids are taken from a pool and used again: by default every checkpoint would leave new ones with the broker.
    """
    return {
        "sink.delivery-guarantee": "exactly-once",
        "sink.transactional-id-prefix": f"groundswell-{topic}",
        "sink.transaction-naming-strategy": "pooling",
        "properties.transaction.timeout.ms": str(TRANSACTION_TIMEOUT_MS),
    }


def _kafka(job: TrendsJob, topic: str, options: dict[str, str]) -> str:
    """Return the options of a Kafka table: the raw key is the entity, the raw value the record."""
    merged = {
        "connector": "kafka",
        "topic": topic,
        "properties.bootstrap.servers": job.bootstrap,
        "key.format": "raw",
        "key.fields": "entity",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
        **{f"properties.{name}": value for name, value in job.properties.items()},
        **options,
    }
    return ", ".join(f"{_text(name)} = {_text(value)}" for name, value in merged.items())


def _interval(duration_ms: int) -> str:
    """Return a duration as SQL writes it: days hours:minutes:seconds.milliseconds."""
    seconds, milliseconds = divmod(duration_ms, 1000)
    days, rest = divmod(seconds, 86_400)
    return f"{days} {rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}.{milliseconds:03}"


def _text(value: str) -> str:
    """Return a SQL string literal."""
    return "'" + value.replace("'", "''") + "'"


if __name__ == "__main__":
    main(sys.argv[1:])
