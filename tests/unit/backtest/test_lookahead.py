"""The analyses find a detector that looks ahead, and clear one that does not."""

from collections.abc import Sequence

import pytest

from pipeline.backtest.lookahead import check_hindsight, cut_points, last_moment, lookahead, warmup
from pipeline.commands.backtest import cut_off_ms
from pipeline.commands.options import parse_time
from pipeline.core.detector_config import DetectorConfig
from pipeline.errors import ConfigurationError
from pipeline.events import Alert, Evidence, ScoredPost
from tests.unit.backtest.alarms import alert
from tests.unit.core.streams import DAY_MS, HOUR_MS, START_MS, background, eventful, in_order, scored_post, shift

CONFIG = DetectorConfig()


def clairvoyant(posts: Sequence[ScoredPost], config: DetectorConfig) -> Sequence[Alert]:
    """Alert where the whole recording was most negative: only who knows the end can say so."""
    worst = max(posts, key=lambda post: (post.sentiment.negative, post.event_time_ms))
    return [alert("x", worst.entity, posts[0].event_time_ms + HOUR_MS, score=worst.event_time_ms / 1e12)]


def cumulative(posts: Sequence[ScoredPost], config: DetectorConfig) -> Sequence[Alert]:
    """Alert at each thousandth post since the beginning: start-up length matters for ever."""
    return [alert(str(at), "A", post.event_time_ms) for at, post in enumerate(posts) if at % 100 == 99]


def test_the_shipped_detector_is_clean() -> None:
    found = lookahead(eventful(), CONFIG, None)
    assert found.clean
    assert len(found.cuts_ms) == 5
    assert found.summary()["changed"] == []


def test_a_detector_that_knows_the_end_is_found() -> None:
    found = lookahead(eventful(), CONFIG, None, clairvoyant)
    assert not found.clean
    assert len(found.changed) >= 5


def test_evidence_from_after_the_alert_is_found() -> None:
    posts = [scored_post(str(i), START_MS + i * HOUR_MS) for i in range(20)]
    late = posts[10]
    evidence = Evidence(event_id=late.event_id, text="", author_id="a", event_time_ms=late.event_time_ms, negative=0.9)

    def cheat(known: Sequence[ScoredPost], config: DetectorConfig) -> Sequence[Alert]:
        return [alert("x", "A", START_MS + 5 * HOUR_MS, evidence=(evidence,))]

    assert [record.alert_id for record in lookahead(posts, CONFIG, None, cheat).early] == ["x"]


def test_a_later_version_of_what_an_alert_shows_makes_it_not_early() -> None:
    posts = [scored_post(str(i), START_MS + i * HOUR_MS) for i in range(20)]
    shown = posts[3]
    evidence = Evidence(event_id=shown.event_id, text="", author_id="a", event_time_ms=shown.event_time_ms, negative=0.9)

    def honest(known: Sequence[ScoredPost], config: DetectorConfig) -> Sequence[Alert]:
        return [alert("x", "A", START_MS + 5 * HOUR_MS, evidence=(evidence,))]

    later = shown.model_copy(update={"event_time_ms": START_MS + 30 * HOUR_MS})
    assert lookahead([*posts, later], CONFIG, None, honest).early == ()


def test_an_alert_available_before_it_happened_is_found() -> None:
    posts = [scored_post(str(i), START_MS + i * HOUR_MS) for i in range(20)]

    def early(known: Sequence[ScoredPost], config: DetectorConfig) -> Sequence[Alert]:
        return [alert("x", "A", START_MS + 5 * HOUR_MS, available_at_ms=START_MS)]

    assert lookahead(posts, CONFIG, None, early).early


@pytest.mark.parametrize(("beyond_ms", "found"), [(-CONFIG.out_of_orderness_ms, []), (0, []), (1, ["x"])])
def test_evidence_that_came_in_after_the_pane_had_closed_is_found(beyond_ms: int, found: list[str]) -> None:
    told_ms = START_MS + 5 * HOUR_MS
    posts = [scored_post("p", told_ms - 1, available_at_ms=told_ms + CONFIG.out_of_orderness_ms + beyond_ms)]
    evidence = Evidence(event_id="p", text="", author_id="a", event_time_ms=told_ms - 1, negative=0.9)

    def cheat(known: Sequence[ScoredPost], config: DetectorConfig) -> Sequence[Alert]:
        return [alert("x", "A", told_ms, evidence=(evidence,))]

    assert [record.alert_id for record in lookahead(posts, CONFIG, None, cheat).early] == found


def test_posts_not_yet_available_at_the_cut_are_not_known_there() -> None:
    posts = [scored_post(str(i), START_MS + i * HOUR_MS, available_at_ms=START_MS + 99 * DAY_MS) for i in range(20)]
    seen: list[int] = []

    def count(known: Sequence[ScoredPost], config: DetectorConfig) -> Sequence[Alert]:
        seen.append(len(known))
        return []

    lookahead(posts, CONFIG, None, count)
    assert seen == [20, 0, 0, 0, 0, 0]


def test_a_model_that_learned_from_the_span_is_hindsight() -> None:
    posts = [scored_post("1", START_MS)]
    assert lookahead(posts, CONFIG, START_MS - 1).hindsight is False
    assert lookahead(posts, CONFIG, START_MS).hindsight is True
    assert lookahead(posts, CONFIG, None).hindsight is None
    assert not lookahead(posts, CONFIG, START_MS).clean


def test_cuts_lie_on_panes_within_the_recording() -> None:
    posts = [scored_post(str(i), START_MS + i * HOUR_MS) for i in range(60)]
    cuts = cut_points(posts)
    assert all(cut % 300_000 == 0 and START_MS < cut <= posts[-1].event_time_ms for cut in cuts)
    assert cut_points([]) == ()


def test_warm_up_shows_a_detector_that_never_settles_and_clears_one_that_does() -> None:
    posts = in_order(background("A", 40, 20, 1), shift("A", START_MS + 39 * DAY_MS, 16))
    span = (START_MS + 35 * DAY_MS, START_MS + 41 * DAY_MS)
    steady = {row.days: row.summary() for row in warmup(posts, CONFIG, span)}
    assert list(steady) == [3, 7, 14, 28]
    assert steady[28] == {"days": 28, "same": 1, "gained": 0, "lost": 0, "moved": 0}
    restless = warmup(posts, CONFIG, span, cumulative)
    assert any(row.change.moved or row.change.gained or row.change.lost for row in restless)


def test_a_model_that_knows_the_judged_span_is_refused_unless_allowed() -> None:
    with pytest.raises(ConfigurationError, match="--allow-hindsight"):
        check_hindsight(START_MS + DAY_MS, START_MS, allowed=False)
    check_hindsight(START_MS + DAY_MS, START_MS, allowed=True)
    check_hindsight(START_MS - DAY_MS, START_MS, allowed=False)
    check_hindsight(None, START_MS, allowed=False)


@pytest.mark.parametrize(
    ("dates", "next_day"),
    [("2022 (publication)", "2023-01-01"), ("2022-02", "2022-03-01"), ("2024-12", "2025-01-01"), ("2024-02-28", "2024-02-29")],
)
def test_a_cut_off_is_the_end_of_the_period_that_it_names(dates: str, next_day: str) -> None:
    assert last_moment(dates) == parse_time(next_day) - 1


@pytest.mark.parametrize("dates", ["unknown", "", "20221", "some time in 2022"])
def test_a_cut_off_without_a_date_is_not_known(dates: str) -> None:
    assert last_moment(dates) is None


@pytest.mark.parametrize(
    ("text", "next_ms"),
    [("2014-07-01", "2014-07-02"), ("2014-07", "2014-08-01"), ("2014", "2015-01-01"), ("2014-07-01T16:00", "2014-07-01T16:00")],
)
def test_a_cut_off_counts_to_the_end_of_its_last_day_and_a_time_as_it_stands(text: str, next_ms: str) -> None:
    assert cut_off_ms(text) == parse_time(next_ms) - ("T" not in text)


@pytest.mark.parametrize("text", ["2014-13", "2014-7", "0000", "soon"])
def test_a_cut_off_that_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{text}' is not a date; write 2014-07-01"):
        cut_off_ms(text)
