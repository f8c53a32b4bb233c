import random

import pytest

from pipeline.core.clusters import MAX_DISTANCE, Clusters

DAY_MS = 86_400_000


def test_few_flipped_bits_join_and_more_lead() -> None:
    clusters = Clusters(DAY_MS, 100)
    assert clusters.assign(0b0, 1) == (0b0, True)
    assert clusters.assign(0b111, 2) == (0b0, False)
    assert clusters.assign(0b1111, 3) == (0b1111, True)


def test_a_content_leads_again_after_the_memory() -> None:
    clusters = Clusters(DAY_MS, 100)
    assert clusters.assign(7, 0) == (7, True)
    assert clusters.assign(7, DAY_MS - 1) == (7, False)
    assert clusters.assign(7, DAY_MS) == (7, True)


def brute_force(posts: list[tuple[int, int]], capacity: int) -> list[int]:
    leaders: list[tuple[int, int]] = []
    joined = []
    for time_ms, fingerprint in posts:
        alive = [(at, leader) for at, leader in leaders[-capacity:] if at > time_ms - DAY_MS]
        near = [leader for _, leader in alive if (leader ^ fingerprint).bit_count() <= MAX_DISTANCE]
        if not near:
            leaders.append((time_ms, fingerprint))
        joined.append(near[0] if near else fingerprint)
    return joined


@pytest.mark.parametrize("capacity", [5, 40, 1_000])
def test_the_block_index_agrees_with_comparing_everything(capacity: int) -> None:
    rng = random.Random(capacity)
    bases = [rng.getrandbits(64) for _ in range(60)]
    posts, time_ms = [], 0
    for _ in range(1_500):
        time_ms += rng.randrange(600_000)
        noise = sum(1 << rng.randrange(64) for _ in range(rng.randrange(6)))
        posts.append((time_ms, (rng.choice(bases) ^ noise) & (2**64 - 1)))
    clusters = Clusters(DAY_MS, capacity)
    joined = []
    for at_ms, fingerprint in posts:
        joined.append(clusters.assign(fingerprint, at_ms)[0])
        clusters.forget_before(at_ms - 3_600_000)
    assert joined == brute_force(posts, capacity)


def test_cutting_takes_back_and_the_same_posts_lead_again() -> None:
    clusters = Clusters(DAY_MS, 100)
    rng = random.Random(2)
    fingerprints = [rng.getrandbits(64) for _ in range(80)]
    for at, fingerprint in enumerate(fingerprints):
        clusters.assign(fingerprint, at)
    clusters.cut_from(50)
    assert len(clusters.leaders) == 50
    assert clusters.assign(fingerprints[60], 60) == (fingerprints[60], True)
    assert clusters.assign(fingerprints[10], 61) == (fingerprints[10], False)


def test_memory_is_bounded_by_the_capacity() -> None:
    clusters = Clusters(DAY_MS, 50)
    rng = random.Random(3)
    for at in range(5_000):
        clusters.assign(rng.getrandbits(64), at)
        clusters.forget_before(at - 10)
    assert len(clusters.leaders) <= 50 * 2 + 50


def test_more_leaders_than_a_block_has_values_are_found_too() -> None:
    clusters, rng = Clusters(DAY_MS, 200_000), random.Random(3)
    leaders = [rng.getrandbits(64) for _ in range(70_000)]
    for fingerprint in leaders:
        clusters.assign(fingerprint, 0)
    near = [leader ^ 1 << rng.randrange(64) ^ 1 << rng.randrange(64) for leader in rng.sample(leaders, 500)]
    assert [clusters.assign(fingerprint, 1)[1] for fingerprint in near] == [False] * len(near)
