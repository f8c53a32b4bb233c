import dataclasses
from bisect import insort

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import rolling
from pipeline.core.profile_bytes import VERSION, decode, encode
from pipeline.core.rolling import Profile, ProfileEvent, add, concentration, direction, mass_at, merge, serving_vector
from pipeline.errors import ConfigurationError, StateVersionError

DAY = 86_400_000
START = 1_400_000_000_000
DIMENSIONS = 8
HALF_LIVES = (7 * DAY, 90 * DAY)


def fresh(revision: str = "r1") -> Profile:
    return rolling.new_profile(revision, DIMENSIONS, HALF_LIVES)


def unit(seed: int) -> rolling.Vector:
    vector = np.random.default_rng(seed).standard_normal(DIMENSIONS)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def event(number: int, time_ms: int = START, weight: float = 1.0, with_text: bool = True) -> ProfileEvent:
    vector = unit(number) if with_text else None
    return ProfileEvent(f"e{number}", time_ms, "view", weight, vector, item_id=f"i{number}", title=f"title {number}")


def folded(events: list[ProfileEvent]) -> Profile:
    profile = fresh()
    for one in events:
        add(profile, one)
    return profile


# Times up to 40 short half-lives apart, so that histories cross the edge at which buckets are dropped.
events_lists = st.lists(
    st.builds(
        event,
        st.integers(0, 10_000),
        st.integers(START, START + 40 * 7 * DAY),
        st.sampled_from([0.3, 1.0, 3.0, 5.0, 1024.0]),
        st.booleans(),
    ),
    max_size=40,
    unique_by=lambda e: (e.event_time_ms, e.event_id),
)


@pytest.mark.slow
@settings(max_examples=300)
@given(events_lists, st.randoms(use_true_random=False))
def test_order_and_duplication_do_not_change_a_byte(events: list[ProfileEvent], random: object) -> None:
    shuffled = events + [e for e in events if e.event_time_ms % 3 == 0]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert encode(folded(shuffled)) == encode(folded(events))


@pytest.mark.slow
@settings(max_examples=300)
@given(events_lists, st.data())
def test_split_and_merge_do_not_change_a_byte(events: list[ProfileEvent], data: st.DataObject) -> None:
    parts: list[list[ProfileEvent]] = [[], [], []]
    for one in events:
        parts[data.draw(st.integers(0, 2))].append(one)
    a, b, c = (folded(part) for part in parts)
    whole = encode(folded(events))
    assert encode(merge(merge(a, b), c)) == whole
    assert encode(merge(c, merge(b, a))) == whole


@given(events_lists)
def test_bytes_round_trip_at_every_step(events: list[ProfileEvent]) -> None:
    through_bytes = fresh()
    for one in events:
        through_bytes = decode(encode(through_bytes))
        add(through_bytes, one)
    assert encode(through_bytes) == encode(folded(events))


@pytest.mark.parametrize("reverse", [False, True])
def test_thirty_two_half_lives_are_kept_and_the_next_older_one_is_dropped(reverse: bool) -> None:
    edge = (START // HALF_LIVES[0]) * HALF_LIVES[0]
    events = [event(n, edge + n * HALF_LIVES[0]) for n in range(40)]
    profile = folded(list(reversed(events)) if reverse else events)
    first = edge // HALF_LIVES[0]
    assert sorted(profile.families[0].buckets) == list(range(first + 8, first + 40))
    assert profile.events == 40


def test_the_last_millisecond_of_a_half_life_weighs_almost_twice_the_first() -> None:
    edge = (START // HALF_LIVES[0]) * HALF_LIVES[0]
    first, last = folded([event(1, edge)]), folded([event(1, edge + HALF_LIVES[0] - 1)])
    k = edge // HALF_LIVES[0]
    assert first.families[0].buckets[k].mass == rolling.FIXED_POINT
    assert last.families[0].buckets[k].mass == pytest.approx(2 * rolling.FIXED_POINT, abs=2)


@given(st.integers(0, 2**40), st.integers(1, 2**40))
def test_exp2_fraction_is_within_one_part_in_a_quadrillion(numerator: int, denominator: int) -> None:
    fraction = numerator % denominator
    assert rolling.exp2_fraction(fraction, denominator) == pytest.approx(2 ** (fraction / denominator), rel=1e-15)


def test_the_direction_agrees_with_the_float_definition() -> None:
    events = [event(n, START + n * DAY * 3, weight=1.0 + n % 5) for n in range(60)]
    profile = folded(events)
    for family in profile.families:
        exact = sum(e.weight * 2 ** ((e.event_time_ms - START) / family.half_life_ms) * unit(n) for n, e in enumerate(events))
        cosine = direction(family, DIMENSIONS) @ exact / np.linalg.norm(exact)
        assert float(cosine) > 0.999_999_99
        now = events[-1].event_time_ms + DAY
        mass = sum(e.weight * 0.5 ** ((now - e.event_time_ms) / family.half_life_ms) for e in events)
        assert mass_at(family, now) == pytest.approx(mass, rel=1e-5)


def test_sums_are_rounded_to_the_nearest_fixed_point() -> None:
    edge = (START // HALF_LIVES[0]) * HALF_LIVES[0]
    vector = np.array([0.6, -0.8, 0, 0, 0, 0, 0, 0], np.float32)
    profile = folded([dataclasses.replace(event(1, edge, weight=3.0), vector=vector)])
    sums = profile.families[0].buckets[edge // HALF_LIVES[0]].sums
    assert sums.tolist() == [round(2**20 * 3 * float(x)) for x in vector]
    assert sums.tolist()[:2] != [int(2**20 * 3 * float(x)) for x in vector][:2]


def test_mass_halves_after_a_half_life() -> None:
    family = folded([event(1)]).families[0]
    assert mass_at(family, START) == pytest.approx(1.0, abs=1e-5)
    assert mass_at(family, START + family.half_life_ms) == pytest.approx(0.5, abs=1e-5)


def test_concentration_is_one_for_one_direction_and_small_for_opposite_ones() -> None:
    one_way = folded([dataclasses.replace(event(n), vector=unit(1)) for n in range(3)])
    opposite = folded([dataclasses.replace(event(n), vector=unit(1) * (-1) ** n) for n in range(4)])
    assert concentration(one_way.families[0], DIMENSIONS) == pytest.approx(1.0, abs=1e-5)
    assert concentration(opposite.families[0], DIMENSIONS) < 1e-5
    assert concentration(fresh().families[0], DIMENSIONS) == 0.0


def test_an_event_without_text_changes_recent_items_and_count_only() -> None:
    profile = folded([event(1, with_text=False)])
    assert (profile.events, profile.last_event_ms, [r.item_id for r in profile.recents]) == (1, START, ["i1"])
    assert all(not family.buckets for family in profile.families)
    assert not serving_vector(profile).any()


def test_the_fifty_newest_items_are_kept() -> None:
    profile = folded([event(n, START + (n * 37 % 80)) for n in range(80)])
    assert [r.event_time_ms - START for r in profile.recents] == list(range(30, 80))


def test_a_duplicate_inside_the_horizon_counts_once_and_the_horizon_is_the_newest_4096() -> None:
    profile = folded([event(n, START + n, with_text=False) for n in range(rolling.SEEN_EVENTS + 1)])
    assert not add(profile, event(1, START + 1, with_text=False))
    assert add(profile, event(0, START, with_text=False))  # behind the horizon it counts again, as documented
    assert len(profile.seen) == 16 * rolling.SEEN_EVENTS


def test_seen_events_stay_sorted() -> None:
    profile, expected = fresh(), list[bytes]()
    for n in range(200):
        one = event(n, START + (n * 7919) % 50, with_text=False)
        add(profile, one)
        insort(expected, rolling._seen_key(one.event_time_ms, one.event_id))
    assert profile.seen == b"".join(expected)


@pytest.mark.parametrize("weight", [0.0, -1.0, 1025.0, float("nan")])
def test_a_weight_out_of_range_is_an_error(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        add(fresh(), event(1, weight=weight))


@pytest.mark.parametrize(
    "vector", [np.full(DIMENSIONS, np.nan, np.float32), np.ones(DIMENSIONS, np.float32), np.zeros(3, np.float32)]
)
def test_what_is_not_a_unit_vector_is_an_error(vector: rolling.Vector) -> None:
    with pytest.raises(ValueError, match="unit vector"):
        add(fresh(), dataclasses.replace(event(1), vector=vector))


def test_two_revisions_or_half_lives_do_not_mix() -> None:
    with pytest.raises(ConfigurationError, match=r"'r1', not 'r2'"):
        merge(fresh(), fresh("r2"))
    with pytest.raises(ConfigurationError, match="half-lives"):
        merge(fresh(), rolling.new_profile("r1", DIMENSIONS, (DAY, 2 * DAY)))


def test_bytes_of_a_newer_version_or_damaged_ones_are_refused() -> None:
    encoded = encode(folded([event(1), event(2)]))
    with pytest.raises(StateVersionError, match=f"version {VERSION + 1}"):
        decode((VERSION + 1).to_bytes(2, "little") + encoded[2:])
    for damaged in (b"", encoded[:-1], encoded + b"x", encoded[:40]):
        with pytest.raises(StateVersionError):
            decode(damaged)


def test_a_refused_event_leaves_no_trace() -> None:
    profile = fresh()
    with pytest.raises(ValueError, match="weight"):
        add(profile, event(1, weight=0.0))
    assert encode(profile) == encode(fresh())
