"""What a user should hear about a recording before its numbers: what does not count, and what can hardly be judged."""

from collections.abc import Iterator, Sequence

from pipeline.backtest.prices import Prices
from pipeline.backtest.truth import Incident, within
from pipeline.core.shown import counted, utc
from pipeline.events import ScoredPost

LEAST_SHARE = 0.01
Span = tuple[int, int]


def about_posts(given: Sequence[ScoredPost], kept: Sequence[ScoredPost]) -> Iterator[str]:
    """Yield what was left out of the posts of the files."""
    named = sum(bool(post.entity) for post in given)
    if nameless := len(given) - named:
        yield f"posts: {counted(nameless, 'line')} of {len(given):,} without an entity, left out"
    if repeated := named - len(kept):
        yield f"posts: {counted(repeated, 'line')} of {len(given):,} said before (event_id, entity, time), counted once"


def about_span(posts: Sequence[ScoredPost], span: Span) -> Iterator[str]:
    """Yield that hardly a post lies in a span that nobody chose; one clock that was wrong by years is enough for that."""
    inside = sum(span[0] <= post.event_time_ms < span[1] for post in posts)
    if inside < LEAST_SHARE * len(posts):
        half = f"the second half of the time, {utc(span[0])} to {utc(span[1])}, is judged"
        yield f"{half}, and holds {inside:,} of {len(posts):,} posts; choose with --from and --to"


def about_truth(planted: Sequence[Incident], span: Span) -> Iterator[str]:
    """Yield that a file of truth has nothing in the span: nothing could be found."""
    if not within(planted, *span):
        begun = f"none of its {counted(len(planted), 'incident')} begins in {utc(span[0])} to {utc(span[1])}"
        yield f"truth: {begun}; there is no recall"


def about_prices(prices: Prices) -> Iterator[str]:
    """Yield which days with prices are no sessions."""
    if prices.left_out:
        why = "are no sessions: fewer than half of the tickers have a price"
        yield f"prices: {counted(len(prices.left_out), 'day')}, {prices.left_out[0]} the first, {why}"
