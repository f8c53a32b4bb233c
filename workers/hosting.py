"""Run workers as processes: one in this process, or one process per replica under a parent that ends when one ends.

The first SIGTERM or SIGINT finishes what is in flight and commits it; the second one ends the process at once, which is
safe: what was not committed is delivered again. Nothing is restarted here; that is the supervisor's work.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import structlog

from pipeline import settings as settings_module
from pipeline.adapters.health import HealthServer
from pipeline.adapters.kafka_admin import KafkaAdmin
from pipeline.adapters.kafka_reader import KafkaReader
from pipeline.adapters.kafka_sink import KafkaSink
from pipeline.adapters.kafka_source import KafkaSource
from pipeline.adapters.redis_store import RedisProfileStore, connect
from pipeline.adapters.stopping import STOP_SIGNALS, stop_on_signals
from pipeline.adapters.time_ordered import TimeOrderedSource
from pipeline.environment import stack_log
from pipeline.errors import GroundswellError, Stop, Unavailable
from pipeline.settings import KafkaSettings, Settings
from pipeline.telemetry import Metrics, setup_logging
from pipeline.topics import EVENTS, POSTS
from workers.encoder import Encoder
from workers.entity_linking import EntityLinker, load_dictionary, shipped_dictionary
from workers.fake_encoder import FakeEncoder
from workers.positions import check_ends
from workers.reloading import Watcher, Weights
from workers.rules import WorkerRules, system_clock
from workers.worker import Brain, Connections, Worker

FAKE = "fake"
KILLED_AFTER_S = 10.0  # beyond the drain timeout

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WorkOptions:
    """What the command line said. ``devices``: replica i takes the i-th, beginning again at the end."""

    home: Path | None = None
    devices: tuple[str, ...] = ()
    encoder: str = "transformer"
    until_idle: bool = False
    restart_profiles: bool = False

    def settings(self, replica: int) -> Settings:
        """Return the settings with the device of this replica."""
        settings = settings_module.load(self.home)
        if not self.devices:
            return settings
        device = self.devices[replica % len(self.devices)]
        return settings.model_copy(update={"encoder": settings.encoder.model_copy(update={"device": device})})


def run_worker(options: WorkOptions, replica: int, stop: threading.Event) -> None:
    """Connect, work until ``stop`` is set (or nothing is left, with ``until_idle``), and disconnect."""
    settings = options.settings(replica)
    setup_logging(settings.log_format, settings.log_level, stack_log())
    structlog.contextvars.bind_contextvars(replica=replica)
    rules = WorkerRules.from_settings(settings).restarting(options.restart_profiles)
    metrics = Metrics()
    with ExitStack() as stack:
        brain = _brain(options, settings, stack)
        _compare_topics(settings.kafka)
        connections = _connect(settings, rules, metrics, stack)
        _compare_ends(settings.kafka, rules, connections)
        worker = stack.enter_context(closing(Worker(connections, brain, rules, metrics, system_clock())))
        port = settings.worker.metrics_port
        health = HealthServer(metrics, worker.readiness, settings.worker.metrics_host, port + replica if port else 0)
        stack.enter_context(health)
        log.info("worker_started", model=brain.encoder.model, revision=brain.encoder.revision, metrics_port=health.port)
        worker.run(stop, options.until_idle)
        log.info("worker_stopped", **worker.totals._asdict())


def _brain(options: WorkOptions, settings: Settings, stack: ExitStack) -> Brain:
    """Return what reads texts; new weights that are published while the worker runs are taken over."""
    linker = make_linker(settings)
    if options.encoder == FAKE:
        return Brain(FakeEncoder(), linker)
    from workers.model import shipped
    from workers.model.transformer import load_encoder as load_transformer

    def load() -> Weights:
        encoder = load_transformer(settings.encoder, settings.cache)
        return Weights(encoder, encoder.space)

    record = (settings.encoder.weights or shipped.SHIPPED) / shipped.RECORD
    watcher = stack.enter_context(closing(Watcher(record, load, system_clock().monotonic_s, options.restart_profiles)))
    return Brain(watcher.using.encoder, linker, watcher.using.space, watcher.poll)


def load_encoder(kind: str, settings: Settings) -> Encoder:
    """Return the model, or the one without weights for tests and load."""
    if kind == FAKE:
        return FakeEncoder()
    from workers.model.transformer import load_encoder as load_transformer

    return load_transformer(settings.encoder, settings.cache)


def make_linker(settings: Settings) -> EntityLinker:
    """Return the entity linker over the user's dictionary, or over the shipped one."""
    own = settings.worker.entities
    return EntityLinker(shipped_dictionary() if own is None else load_dictionary(own))


def supervise(options: WorkOptions, replicas: int) -> None:
    """Run each replica in a process of its own. Raises Stop when one ends with an error; the others are drained first."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_replica, args=(options, index), name=f"worker-{index}") for index in range(replicas)]
    stop = _forward_signals(processes)
    for process in processes:
        process.start()
    await_end(processes, stop)
    patience_s = options.settings(0).worker.drain_timeout_s + KILLED_AFTER_S
    for process in processes:
        process.join(patience_s)
        if process.is_alive():
            process.kill()
            process.join()
    failed = [f"{process.name} (process {process.pid}): {process.exitcode}" for process in processes if process.exitcode != 0]
    if failed:
        raise Stop(f"workers ended with an error, so all were stopped; name and exit code: {', '.join(failed)}")


def _connect(settings: Settings, rules: WorkerRules, metrics: Metrics, stack: ExitStack) -> Connections:
    topics = [rules.topics.posts, rules.topics.events]
    client = connect(settings.redis.url.get_secret_value())
    store = stack.enter_context(closing(RedisProfileStore(client, settings.redis.key_prefix, settings.profiles.idle_ttl_days)))
    sink = stack.enter_context(closing(KafkaSink(settings.kafka)))
    source = stack.enter_context(closing(KafkaSource(settings.kafka, settings.worker.group, topics, metrics)))
    return Connections(TimeOrderedSource(source), sink, store)


def _compare_topics(kafka: KafkaSettings) -> None:
    """Warn of an input topic with other partitions than the table: it is read all the same, and nothing is lost."""
    names = {topic.full_name(kafka.topic_prefix): topic for topic in (POSTS, EVENTS)}
    with KafkaAdmin(kafka) as admin:
        found = admin.describe(names)
    for name, topic in names.items():
        if name in found and found[name].partitions != topic.partitions:
            difference = {"topic": name, "partitions": found[name].partitions, "expected": topic.partitions}
            log.warning("topic_differs_from_the_table", **difference, fix="groundswell provision --check")


def _compare_ends(kafka: KafkaSettings, rules: WorkerRules, connections: Connections) -> None:
    """Stop where the topics were made anew and the profile store was kept; a server that is away is waited for later."""
    try:
        check_ends(connections.store, KafkaReader(kafka), (rules.topics.posts, rules.topics.events))
    except Unavailable as error:
        log.warning("ends_not_compared", error=str(error))


def _replica(options: WorkOptions, replica: int) -> None:
    """Run in a child. Ctrl-C reaches every process of a terminal, so here only the parent's SIGTERM counts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = stop_on_signals((signal.SIGTERM,))
    threading.Thread(target=_stop_with_parent, args=(stop,), name="parent", daemon=True).start()
    try:
        run_worker(options, replica, stop)
    except GroundswellError as error:
        log.error("worker_failed", error=str(error))
        raise SystemExit(1) from None


def _stop_with_parent(stop: threading.Event) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        stop.set()


def _forward_signals(processes: Sequence[SpawnProcess]) -> threading.Event:
    stop = threading.Event()

    def handle(number: int, _frame: object) -> None:
        again = stop.is_set()
        stop.set()
        for process in processes:
            if process.is_alive():
                process.kill() if again else process.terminate()
        if again:
            os._exit(128 + number)

    for one in STOP_SIGNALS:
        signal.signal(one, handle)
    return stop


def await_end(processes: Sequence[SpawnProcess], stop: threading.Event) -> None:
    """Return when all have ended, or when one has ended with an error and the others are told to stop."""
    running = list(processes)
    while running and not stop.is_set():
        wait([process.sentinel for process in running], timeout=1.0)
        exits = [(process, process.exitcode) for process in running]  # asked once: one may end between two questions
        running = [process for process, code in exits if code is None]
        if any(code for _, code in exits):
            break
    for process in running:
        if process.is_alive() and not stop.is_set():
            process.terminate()
