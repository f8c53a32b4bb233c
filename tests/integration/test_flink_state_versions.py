"""Savepoints across releases: an older release's state is migrated, a newer one's is refused by name, and nothing is lost."""

import inspect
import zipfile
from contextlib import suppress
from typing import Final

import pytest

from infra.flink_cluster import FlinkCluster, ship
from infra.flink_job import ensure_running, running_job
from pipeline.adapters.waiting import wait_for_answer
from pipeline.core import entity_state, market_state
from pipeline.core.corrections import settled_trends
from pipeline.core.entity_state import STATE_VERSION
from pipeline.errors import Unavailable
from pipeline.events import Alert, AlertStatus
from pipeline.jobs.trends_job import TrendsJob
from tests.parity.flink_lab import READY_S, Lab, kafka_of, wait_for_told, wait_until_at_work
from tests.parity.flink_runs import Told, publish, told_in_process
from tests.unit.core.old_states import encoded_as_version_2
from tests.unit.core.streams import DAY_MS, HOUR_MS, START_MS, background, in_order, shift

pytestmark = [pytest.mark.integration, pytest.mark.flink, pytest.mark.slow, pytest.mark.timeout(900)]

SPIKE_MS = START_MS + 4 * DAY_MS + 7 * HOUR_MS
POSTS = in_order(
    *(background(entity, 6, 24, seed) for seed, entity in enumerate(("calm", "spike"))), shift("spike", SPIKE_MS, 16)
)

OLDER: Final = f"""
from base64 import b64encode
from dataclasses import astuple

{inspect.getsource(encoded_as_version_2)}
encode = encoded_as_version_2
"""
OLDER_MARKET: Final = """
def encode(state):
    shared = entity_state.encode(state)
    told = lambda digests: [digest[:17] for digest in digests.values()]
    digests = [told(state.digests[start]) for start in sorted(state.digests)]
    document = {"digests": digests, "parts": sorted(state.parts.items()), "last": told(state.last)}
    return _HEADER.pack(1, len(shared)) + shared + zlib.compress(_json(document).encode(), 1)
"""
NEWER: Final = """
_encode_now, _decode_now = encode, decode

def encode(state):
    return _VERSION.pack(STATE_VERSION + 1) + _encode_now(state)

def decode(encoded, config):
    (version,) = _VERSION.unpack_from(encoded)
    return _decode_now(encoded[_VERSION.size :] if version > STATE_VERSION else encoded, config)
"""


def release(cluster: FlinkCluster, entity: str = "", market: str = "") -> None:
    """Ship this code to the cluster, with other words for how the states of entities and markets are written and read."""
    ship(cluster.shipped)
    with zipfile.ZipFile(cluster.shipped) as archive:
        parts = {each: archive.read(each) for each in archive.namelist()}
    for module, changes in ((entity_state, entity), (market_state, market)):
        parts["/".join(module.__name__.split(".")) + ".py"] += changes.encode()
    with zipfile.ZipFile(cluster.shipped, "w") as archive:
        for each, content in parts.items():
            archive.writestr(each, content)


def ids_and_ends(alerts: list[Alert]) -> set[tuple[str, AlertStatus]]:
    return {(alert.alert_id, alert.status) for alert in alerts}


def test_a_savepoint_of_an_older_release_goes_on_and_a_newer_ones_is_refused_by_name(lab: Lab, job: TrendsJob) -> None:
    cuts = [len(POSTS) // 3, next(number for number, post in enumerate(POSTS) if post.event_time_ms > SPIKE_MS + HOUR_MS / 2)]
    for changes, part in (
        ((OLDER, OLDER_MARKET), POSTS[: cuts[0]]),
        ((), POSTS[cuts[0] : cuts[1]]),
        ((NEWER,), POSTS[cuts[1] : -20]),
    ):
        release(lab.cluster, *changes)
        lab.run(job)
        publish(kafka_of(job), job.scored, part)
        wait_until_at_work(job, part)
        lab.stop(job)

    release(lab.cluster)
    words = f"StateVersionError: the state of an entity has version {STATE_VERSION + 1}, this code reads up to {STATE_VERSION}"
    with suppress(Unavailable):  # its tasks may run for a moment, before they meet the state
        ensure_running(lab.cluster, job, 30)
    rest = lab.cluster.rest()
    refused = running_job(rest, job)
    assert refused is not None
    assert wait_for_answer(lambda: words in rest.cause(refused), READY_S, interval_s=0.5)
    rest.cancel(refused)
    rest.wait_for(refused, "CANCELED", READY_S)
    rest.close()
    publish(kafka_of(job), job.scored, POSTS[-20:])

    release(lab.cluster, NEWER)
    lab.run(job)
    expected = told_in_process(job, POSTS)
    wait_for_told(job, lambda told: same(told, expected), interval_s=1.0)
    assert {alert.status for alert in expected.alerts} >= {AlertStatus.OPENED, AlertStatus.RESOLVED}


def same(told: Told, expected: Told) -> bool:
    """Tell whether trends are equal and alerts have equal lives: a migrated threshold may differ, as own rates began anew."""
    return settled_trends(told.trends) == settled_trends(expected.trends) and ids_and_ends(told.alerts) == ids_and_ends(
        expected.alerts
    )
