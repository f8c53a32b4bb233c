import sys
from dataclasses import replace

import pytest

from pipeline.core.clusters import Clusters
from pipeline.core.packed_pane import packed, whole
from pipeline.core.panes import ZERO, Pane, PaneRules, mention_of, pane_start, summarise
from pipeline.core.trends import PANE_MS
from pipeline.core.windows import OLD_AUTHORS, THIN_AFTER_MS, PaneHistory, thinned
from pipeline.events import ScoredPost
from tests.unit.core.streams import DAY_MS, HOUR_MS, MINUTE_MS, START_MS, scored_post

RULES = PaneRules(young_age_ms=30 * DAY_MS, out_of_orderness_ms=2 * MINUTE_MS, posts_per_author=2)


def pane_of(*posts: ScoredPost, history: PaneHistory | None = None) -> Pane:
    start = pane_start(posts[0].event_time_ms)
    before = ZERO if history is None else history.totals
    return summarise(start, [mention_of(post) for post in posts], Clusters(DAY_MS, 100), before, RULES)


def history_of(*starts_and_counts: tuple[int, int]) -> PaneHistory:
    history = PaneHistory()
    for number, (start, count) in enumerate(starts_and_counts):
        posts = [scored_post(f"{number}-{i}", start + i, 0.3, author_id=f"{number}-{i}") for i in range(count)]
        history.append(pane_of(*posts, history=history))
    return history


def test_a_pane_holds_its_start_and_not_its_end() -> None:
    assert pane_start(START_MS) == START_MS
    assert pane_start(START_MS + PANE_MS - 1) == START_MS
    assert pane_start(START_MS + PANE_MS) == START_MS + PANE_MS


def test_copies_count_once_and_are_told() -> None:
    pane = pane_of(*(scored_post(str(i), START_MS + i, 0.9, simhash=f"{i % 2:016x}") for i in range(6)))
    assert (pane.posts, pane.effective, pane.clusters) == (6, 1, 1)
    assert pane.negative == 0.9
    assert [(content.event_id, content.times) for content in pane.contents] == [("0", 6)]


def test_a_list_of_names_is_a_post_without_mood_content_or_author() -> None:
    """What a list said first is still new when somebody says it about one name."""
    listed = scored_post("1", START_MS, 0.9, text="down: $A $B $C $D", simhash="0" * 16, author_created_ms=START_MS - DAY_MS)
    alone = pane_of(listed)
    assert (alone.posts, alone.effective, alone.negative, alone.positive, alone.authors, alone.young) == (1, 0, 0.0, 0.0, (), 1)
    assert [content.negative for content in alone.contents] == [0.0]
    both = pane_of(listed, scored_post("2", START_MS + 1, 0.8, text="down: $A", simhash="0" * 16))
    assert (both.posts, both.effective, both.negative, len(both.authors)) == (2, 1, 0.8, 1)


def test_one_author_counts_at_most_twice_a_pane() -> None:
    pane = pane_of(*(scored_post(str(i), START_MS + i, 0.5, author_id="one") for i in range(5)))
    assert (pane.effective, pane.negative, len(pane.authors)) == (2, 1.0, 1)


def test_young_accounts_and_late_posts_are_counted_from_the_post_itself() -> None:
    young = scored_post("young", START_MS, author_created_ms=START_MS - DAY_MS)
    old = scored_post("old", START_MS, author_created_ms=START_MS - 60 * DAY_MS, available_at_ms=START_MS + HOUR_MS)
    pane = pane_of(young, old, scored_post("unknown", START_MS))
    assert (pane.young, pane.late) == (1, 1)


def test_sums_of_windows_are_sums_of_panes() -> None:
    history = history_of((START_MS, 2), (START_MS + PANE_MS, 3), (START_MS + HOUR_MS, 5))
    end = START_MS + HOUR_MS + PANE_MS
    assert history.sums(end, PANE_MS).posts == 5
    assert history.sums(end, HOUR_MS).posts == 8
    whole = history.sums(end, 2 * HOUR_MS)
    assert (whole.posts, whole.effective) == (10, 10)
    assert whole.negative == pytest.approx(3.0)
    assert whole.positive == pytest.approx(7.0)
    assert history.sums(end + DAY_MS, HOUR_MS).posts == 0


def test_sums_stay_the_same_when_old_panes_are_forgotten() -> None:
    history = history_of((START_MS, 2), (START_MS + PANE_MS, 3), (START_MS + HOUR_MS, 5))
    end = START_MS + HOUR_MS + PANE_MS
    before = history.sums(end, HOUR_MS)
    history.forget_before(START_MS + PANE_MS)
    assert history.sums(end, HOUR_MS) == before
    assert len(history.panes) == 2


def test_cutting_goes_back_to_the_totals_before() -> None:
    history = history_of((START_MS, 2), (START_MS + PANE_MS, 3))
    history.cut_from(START_MS + PANE_MS)
    assert history.totals.posts == 2
    history.cut_from(START_MS)
    assert history.totals == ZERO


def test_thinning_early_or_late_shows_the_same() -> None:
    history = history_of((START_MS, 20), (START_MS + 4 * HOUR_MS, 20))
    end = START_MS + 4 * HOUR_MS + PANE_MS
    recent = history.recent(end, DAY_MS)
    history.thin_before(end - THIN_AFTER_MS)
    assert history.recent(end, DAY_MS) == recent
    assert history.has_authors(OLD_AUTHORS + 20, end, DAY_MS)
    assert not history.has_authors(OLD_AUTHORS + 21, end, DAY_MS)
    assert [len(pane.contents) for pane in history.panes] == [1, 5]
    assert thinned(history.panes[0]) is history.panes[0]


def test_the_oldest_panes_are_packed_and_nothing_looks_different() -> None:
    history = history_of(*((START_MS + n * PANE_MS, 1 + n % 9) for n in range(60)))
    history.panes[5].frozen = True
    end = START_MS + 60 * PANE_MS
    panes = [thinned(pane) for pane in history.panes]
    sums = [history.sums(end, n * PANE_MS) for n in range(62)]
    history.thin_before(end)
    assert history.panes == panes
    assert history.between(START_MS, START_MS + 3 * PANE_MS) == panes[:4]
    assert [history.sums(end, n * PANE_MS) for n in range(62)] == sums
    history.cut_from(START_MS + 10 * PANE_MS)
    assert history.newest == panes[9]
    history.append(panes[10])
    history.forget_before(START_MS + 9 * PANE_MS)
    assert history.panes == panes[9:11]
    assert history.sums(end, DAY_MS).posts == panes[9].posts + panes[10].posts


def test_a_packed_pane_is_small_and_comes_back_whole() -> None:
    pane = thinned(pane_of(*(scored_post(str(i), START_MS + i, 0.7, author_id=str(i)) for i in range(20))))
    small = packed(pane)
    assert whole(small) == pane
    assert (small.start_ms, small.through, small.authors) == (pane.start_ms, pane.through, pane.authors)
    assert sys.getsizeof(small) < 256


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_pane_of_any_contents_comes_back_whole(count: int) -> None:
    posts = [scored_post(str(i), START_MS + i, 0.3, text='跌 \ud83d "\\\0\n', author_id=str(i)) for i in range(5)]
    pane = replace(pane_of(*posts), frozen=True)
    few = replace(pane, contents=pane.contents[:count], authors=pane.authors[:count])
    assert len(few.contents) == count
    assert whole(packed(few)) == few
    assert whole(few) is few
