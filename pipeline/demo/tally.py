"""What the demo shows, counted from what the pipeline wrote: mood by entity, the incidents, who wrote."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.core.explain import ENDED
from pipeline.events import Alert, ScoredPost

RECENT = 40  # posts of an entity that its bar shows


@dataclass(slots=True)
class Mood:
    """One entity: how many posts, and the sentiment sums of the newest ones (negative, neutral, positive)."""

    posts: int = 0
    recent: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=RECENT))

    def shares(self) -> tuple[float, float, float]:
        """Return the mean sentiment of the newest posts."""
        count = max(1, len(self.recent))
        negative, neutral, positive = (sum(one[k] for one in self.recent) / count for k in range(3))
        return negative, neutral, positive


@dataclass(slots=True)
class Tally:
    """Everything counted so far. ``alerts`` holds the latest step of each incident, ``peaks`` the one with the highest score."""

    moods: dict[str, Mood] = field(default_factory=dict)
    alerts: dict[str, Alert] = field(default_factory=dict)
    peaks: dict[str, Alert] = field(default_factory=dict)
    alert_steps: int = 0
    authors: Counter[str] = field(default_factory=Counter)
    event_time_ms: int = 0

    def add_posts(self, posts: Iterable[ScoredPost]) -> None:
        """Count scored posts."""
        for post in posts:
            self.event_time_ms = max(self.event_time_ms, post.event_time_ms)
            self.authors[post.author_id] += 1
            if post.entity:
                mood = self.moods.setdefault(post.entity, Mood())
                mood.posts += 1
                mood.recent.append((post.sentiment.negative, post.sentiment.neutral, post.sentiment.positive))

    def add_alerts(self, alerts: Iterable[Alert]) -> None:
        """Count steps of alerts."""
        for alert in alerts:
            self.alerts[alert.alert_id] = alert
            self.alert_steps += 1
            if alert.alert_id not in self.peaks or alert.score > self.peaks[alert.alert_id].score:
                self.peaks[alert.alert_id] = alert

    def loudest(self, count: int) -> list[tuple[str, Mood]]:
        """Return the entities with the most posts."""
        return sorted(self.moods.items(), key=lambda item: (-item[1].posts, item[0]))[:count]

    def incidents(self, count: int) -> list[tuple[Alert, Alert]]:
        """Return the latest step and the peak of each incident, open ones first, then the newest."""
        ranked = sorted(self.alerts.values(), key=lambda a: (a.status in ENDED, -a.event_time_ms, a.alert_id))
        return [(latest, self.peaks[latest.alert_id]) for latest in ranked[:count]]
