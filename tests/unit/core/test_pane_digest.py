from pipeline.core.detector_config import DetectorConfig
from pipeline.core.pane_digest import PaneDigest, decode_digest, encode_digest, without_contents
from pipeline.core.spikes import make_operator
from pipeline.core.trends import Step
from pipeline.events import ScoredPost
from pipeline.jobs.trends import TrendHost
from tests.unit.core.streams import MINUTE_MS, START_MS, eventful, scored_post

CONFIG = DetectorConfig()


def steps(posts: list[ScoredPost], tells_panes: bool = True) -> list[Step]:
    host = TrendHost(make_operator(CONFIG, tells_panes), CONFIG.out_of_orderness_ms)
    return [*host.on_posts(posts), host.finish()]


def digests(posts: list[ScoredPost]) -> list[PaneDigest]:
    return [pane for step in steps(posts) for pane in step.panes]


def test_a_digest_says_what_the_trend_says_and_nobody_else_hears_more() -> None:
    listened, alone = steps(eventful()), steps(eventful(), tells_panes=False)
    assert [(s.trends, s.alerts, s.late) for s in listened] == [(s.trends, s.alerts, s.late) for s in alone]
    assert not any(step.panes for step in alone)
    trends = [trend for step in listened for trend in step.trends]
    panes = [pane for step in listened for pane in step.panes]
    assert [(p.entity, p.start_ms, p.posts, p.negative) for p in panes] == [
        (t.entity, t.window_start_ms, t.posts, t.negative_mass) for t in trends
    ]


def test_a_content_counts_in_the_pane_that_heard_it_first() -> None:
    same = {"simhash": "00000000abcdef00", "entity": "A"}
    posts = [scored_post(f"{n}", START_MS + n * 7 * MINUTE_MS, 0.9, **same) for n in range(2)]
    posts.append(scored_post("new", START_MS + 8 * MINUTE_MS, 0.9))
    first, second = digests(posts)
    assert first.counted == (True,)
    assert dict(zip((c.event_id for c in second.contents), second.counted, strict=True)) == {"1": False, "new": True}


def test_a_late_post_tells_the_panes_after_it_again() -> None:
    posts = [scored_post("first", START_MS), scored_post("next", START_MS + 20 * MINUTE_MS)]
    told = digests([*posts, scored_post("late", START_MS + MINUTE_MS)])
    assert [(pane.start_ms, pane.posts) for pane in told] == [(START_MS, 1), (START_MS, 2), (posts[1].event_time_ms, 1)]


def test_a_digest_survives_its_encoding() -> None:
    for digest in digests(eventful()):
        encoded = encode_digest(digest)
        assert decode_digest(encoded) == digest
        assert encoded.isascii()
    assert without_contents(digest)._replace(authors=digest.authors, contents=digest.contents, counted=digest.counted) == digest
