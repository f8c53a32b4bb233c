"""A seeded world of posts and click sessions, with planted mood shifts, one bot flood, and the truth about both.

Half of the posts and users are English, half Chinese. Activity follows the hour of the day. Everything is drawn from one
seed, so that equal configurations give equal events, byte for byte.
"""

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from pipeline.contract import EARLIEST_MS, LATEST_MS
from pipeline.errors import ConfigurationError
from pipeline.events import Action, BehaviorEvent, SocialPost
from pipeline.times import DAY_MS, HOUR_MS, MINUTE_MS
from producers.phrases import ADJECTIVES, COMPANIES, EMOJI, FLOODS, ITEMS, SLOTS, TEMPLATES, Company

SPIKE_MS: Final = 45 * MINUTE_MS
FLOOD_MS: Final = 15 * MINUTE_MS
SPIKE_LIFT: Final = 8.0  # posts in a spike over what the entity would get in that time anyway
MOODS: Final = ("negative", "neutral", "positive")
USUAL_MOOD: Final = (0.20, 0.45, 0.35)
SPIKE_MOOD: Final = (0.90, 0.08, 0.02)
REPOST_SHARE: Final = 0.06
ACTIONS: Final = (
    (Action.VIEW, 40), (Action.CLICK, 30), (Action.SEARCH, 8), (Action.READ, 6), (Action.LIKE, 6), (Action.CART, 5),
    (Action.RATE, 2), (Action.PURCHASE, 3),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SyntheticConfig:
    """What to make. Equal configurations give equal events.

    ``posts`` is the exact number of posts, planted ones included; click sessions of ``users`` users come on top.
    Everything spreads over ``hours`` from ``start_ms`` (epoch milliseconds, UTC) with a daily season.
    ``negative_spikes`` mood shifts and one bot flood are planted in the second half, so that a baseline can form before.
    Raises ConfigurationError for a world that goes on beyond the times that posts may have.
    """

    seed: int = 7
    posts: int = 6_000
    users: int = 200
    hours: float = 24.0
    start_ms: int = 1_704_067_200_000
    negative_spikes: int = 2

    def __post_init__(self) -> None:
        if not self.hours <= (LATEST_MS - self.start_ms) / HOUR_MS:
            most = (LATEST_MS - self.start_ms) // HOUR_MS
            raise ConfigurationError(f"hours = {self.hours:g} go on beyond the year 2099; from this start use at most {most}")

    @property
    def end_ms(self) -> int:
        """Return the end of the time covered (exclusive)."""
        return self.start_ms + int(self.hours * HOUR_MS)


@dataclass(frozen=True, slots=True)
class Planted:
    """One line of the truth: what was planted, on which entity, in [from_ms, to_ms)."""

    entity: str
    kind: str
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class _Author:
    id: str
    language: str
    created_ms: int
    followers: int


def stream(config: SyntheticConfig) -> Iterator[SocialPost | BehaviorEvent]:
    """Yield posts and behaviour events in event-time order."""
    return heapq.merge(posts(config), behavior(config), key=lambda event: event.event_time_ms)


def truth(config: SyntheticConfig) -> tuple[Planted, ...]:
    """Return what ``stream`` plants for this configuration, in time order: negative spikes and one bot flood."""
    rng = Random(f"{config.seed}/truth")
    kinds = ["negative_spike"] * config.negative_spikes + ["bot_flood"]
    rng.shuffle(kinds)
    entities = rng.sample([company.ticker for company in COMPANIES], len(COMPANIES))
    first, room = config.start_ms + (config.end_ms - config.start_ms) // 2, (config.end_ms - config.start_ms) // 2
    slot = room // len(kinds)
    planted = []
    for index, kind in enumerate(kinds):
        length = min(SPIKE_MS if kind == "negative_spike" else FLOOD_MS, slot // 2)
        begin = first + index * slot + rng.randrange(max(1, slot - length))
        planted.append(Planted(entities[index % len(entities)], kind, begin, begin + length))
    return tuple(planted)


def posts(config: SyntheticConfig) -> Iterator[SocialPost]:
    """Yield exactly ``config.posts`` posts in event-time order."""
    rng = Random(f"{config.seed}/posts")
    authors = _authors(config, rng)
    recent: dict[str, SocialPost] = {}
    for index, (time_ms, company, plant) in enumerate(_moments(config, rng)):
        event_id = f"synthetic-{config.seed}-{index}"
        if plant is not None and plant.kind == "bot_flood":
            yield _bot_post(event_id, time_ms, company, rng)
            continue
        post = _human_post(event_id, time_ms, company, plant, rng.choice(authors), rng)
        original = recent.get(company.ticker)
        if plant is None and original is not None and rng.random() < REPOST_SHARE:
            post = _repost(post, original)
        recent[company.ticker] = post
        yield post


def behavior(config: SyntheticConfig) -> Iterator[BehaviorEvent]:
    """Yield the click sessions of ``config.users`` users, about two a user and day, in event-time order."""
    rng = Random(f"{config.seed}/behavior")
    events: list[BehaviorEvent] = []
    for user in range(config.users):
        tastes = rng.sample(sorted(ITEMS), 2)
        for session in range(max(1, round(rng.gauss(config.hours / 12, config.hours / 48)))):
            events += _session(config, user, session, tastes, rng)
    return iter(sorted(events, key=lambda event: (event.event_time_ms, event.event_id)))


def activity(time_ms: int) -> float:
    """Return the relative activity at a time of the day, between 0.3 (04:00 UTC) and 1.0 (16:00 UTC)."""
    return 0.65 - 0.35 * math.cos(2 * math.pi * ((time_ms % DAY_MS) / DAY_MS - 4 / 24))


def _seasonal_time(config: SyntheticConfig, rng: Random) -> int:
    """Draw a time with density ``activity`` (rejection sampling)."""
    while True:
        time_ms = rng.randrange(config.start_ms, config.end_ms)
        if rng.random() < activity(time_ms):
            return time_ms


def _moments(config: SyntheticConfig, rng: Random) -> list[tuple[int, Company, Planted | None]]:
    """Return when which company is spoken of, and because of what: planted moments first, usual ones fill up."""
    by_ticker = {company.ticker: company for company in COMPANIES}
    moments: list[tuple[int, Company, Planted | None]] = []
    for plant in truth(config):
        usual = config.posts / len(COMPANIES) / config.hours * (plant.to_ms - plant.from_ms) / HOUR_MS
        count = min(max(40, round(SPIKE_LIFT * usual)), config.posts // (2 * (config.negative_spikes + 1)))
        moments += [(rng.randrange(plant.from_ms, plant.to_ms), by_ticker[plant.entity], plant) for _ in range(count)]
    weights = [1.0 + 1.0 / (rank + 1) for rank in range(len(COMPANIES))]
    for _ in range(config.posts - len(moments)):
        moments.append((_seasonal_time(config, rng), rng.choices(COMPANIES, weights)[0], None))
    return sorted(moments, key=lambda moment: moment[0])


def _authors(config: SyntheticConfig, rng: Random) -> list[_Author]:
    return [
        _Author(
            f"author-{config.seed}-{index}",
            ("en", "zh")[index % 2],
            max(EARLIEST_MS, config.start_ms - rng.randrange(200 * DAY_MS, 4_000 * DAY_MS)),
            int(rng.lognormvariate(5.0, 1.6)),
        )
        for index in range(max(20, config.posts // 6))
    ]


def _human_post(event_id: str, time_ms: int, company: Company, plant: Planted | None, author: _Author, rng: Random) -> SocialPost:
    mood = rng.choices(MOODS, USUAL_MOOD if plant is None else SPIKE_MOOD)[0]
    return SocialPost(
        event_id=event_id,
        event_time_ms=time_ms,
        author_id=author.id,
        text=sentence(company, author.language, mood, rng),
        language=author.language,
        source="synthetic",
        entities=(company.ticker,),
        author_created_ms=author.created_ms,
        followers=author.followers,
    )


def sentence(company: Company, language: str, mood: str, rng: Random) -> str:
    """Return one sentence about a company in a language (en, zh) and mood (negative, neutral, positive)."""
    names = company.english if language == "en" else company.chinese
    words = {slot: rng.choice(choices) for slot, choices in SLOTS[language].items()}
    template = rng.choice(TEMPLATES[language, mood])
    text = template.format(name=rng.choice(names), tag=f"${company.ticker}", **words)
    return text[0].upper() + text[1:] + rng.choice(EMOJI[mood])


def _repost(post: SocialPost, original: SocialPost) -> SocialPost:
    text = f"RT @{original.author_id}: {original.text}"
    return post.model_copy(update={"text": text, "language": original.language, "repost_of": original.event_id})


def _bot_post(event_id: str, time_ms: int, company: Company, rng: Random) -> SocialPost:
    language = rng.choice(("en", "zh"))
    noise = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=4))
    text = FLOODS[language].format(tag=f"${company.ticker}", name=company.chinese[0], noise=noise)
    return SocialPost(
        event_id=event_id,
        event_time_ms=time_ms,
        author_id=f"bot-{rng.randrange(10**9)}",
        text=text,
        language=language,
        source="synthetic",
        entities=(company.ticker,),
        author_created_ms=max(EARLIEST_MS, time_ms - rng.randrange(HOUR_MS, 3 * DAY_MS)),
        followers=rng.randrange(4),
    )


def _session(config: SyntheticConfig, user: int, session: int, tastes: list[str], rng: Random) -> list[BehaviorEvent]:
    time_ms = _seasonal_time(config, rng)
    events = []
    for step in range(rng.randint(3, 12)):
        action = rng.choices([action for action, _ in ACTIONS], [weight for _, weight in ACTIONS])[0]
        item_id, item_text = _item(rng.choice(tastes), ("en", "zh")[user % 2], rng)
        if time_ms >= config.end_ms:
            break
        events.append(
            BehaviorEvent(
                event_id=f"synthetic-{config.seed}-{user}-{session}-{step}",
                event_time_ms=time_ms,
                user_id=f"user-{user}",
                action=action,
                item_id=None if action is Action.SEARCH else item_id,
                item_text=item_text,
                value=float(rng.randint(1, 5)) if action is Action.RATE else None,
                session_id=f"session-{user}-{session}",
                source="synthetic",
            )
        )
        time_ms += rng.randint(4_000, 90_000)
    return events


def _item(category: str, language: str, rng: Random) -> tuple[str, str]:
    """Draw an item: the same id names the same thing in both languages."""
    adjective, thing = rng.randrange(len(ADJECTIVES)), rng.randrange(len(ITEMS[category]))
    side = 0 if language == "en" else 1
    gap = " " if language == "en" else ""
    return f"{category}-{thing}-{adjective}", f"{ADJECTIVES[adjective][side]}{gap}{ITEMS[category][thing][side]}"
