"""How much each entity is talked about, and when: effective posts and negative mass, without running the detector."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.core.clusters import Clusters
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.panes import Mention
from pipeline.core.seasonality import SLOT_MS, SLOTS, SeasonalProfile
from pipeline.core.text import is_list
from pipeline.times import HOUR_MS


@dataclass(slots=True)
class Volume:
    """One entity over the span. ``hours``: negative mass by hour since 1970; ``slots``: posts by half-hour since 1970."""

    posts: float = 0.0
    negative: float = 0.0
    hours: dict[int, float] = field(default_factory=dict)
    slots: dict[int, float] = field(default_factory=dict)

    def add(self, post: Mention) -> None:
        """Count one post whose content is new."""
        mass = post.negative
        self.posts += 1.0
        self.negative += mass
        hour, slot = post.event_time_ms // HOUR_MS, post.event_time_ms // SLOT_MS
        self.hours[hour] = self.hours.get(hour, 0.0) + mass
        self.slots[slot] = self.slots.get(slot, 0.0) + 1.0


def volume_of(mentions: Iterable[Mention], span: tuple[int, int], config: DetectorConfig) -> Volume:
    """Return the volume of one entity in the span; mentions in time order. Near-identical ones count once a day, lists never."""
    clusters, found = Clusters(config.cluster_memory_ms, config.cluster_capacity), Volume()
    for mention in mentions:
        if is_list(mention.text, config.most_names):
            continue
        _, leads = clusters.assign(mention.fingerprint, mention.event_time_ms)
        if leads and span[0] <= mention.event_time_ms < span[1]:
            found.add(mention)
    return found


def week_counts(found: Iterable[Volume], timezone: str, cap: float) -> list[float]:
    """Return posts by half-hour of the week, (336,); one entity counts at most ``cap`` in one half-hour: a burst is no season."""
    profile = SeasonalProfile(timezone)
    counts = [0.0] * SLOTS
    for volume in found:
        for slot, posts in volume.slots.items():
            counts[profile.slot_of(slot * SLOT_MS)] += min(posts, cap)
    return counts
