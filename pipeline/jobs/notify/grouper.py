"""Planning when an alert is due: at once, or with its group. All rules are in ``core.grouping``."""

from pipeline.core.grouping import Grouping, flush_ms, group_of, is_urgent
from pipeline.events import Alert
from pipeline.jobs.notify.desk import Desk
from pipeline.settings import NotifySettings


def grouping_of(notify: NotifySettings) -> Grouping | None:
    """Return how alerts are grouped by the settings; None: each goes alone."""
    if notify.group_by is None:
        return None
    return Grouping(notify.group_by, round(1000 * notify.group_wait_s), round(1000 * notify.group_interval_s))


def planned(desk: Desk, alert: Alert) -> tuple[str | None, int]:
    """Return the group of an alert, None for none, and when it is due; the log remembers what is planned."""
    now_ms, grouping = desk.now_ms(), desk.grouping
    if grouping is None:
        return None, now_ms
    group = group_of(alert, grouping.by)
    if is_urgent(alert):
        return group, now_ms
    last_ms = desk.log.flush_ms(group)
    due_ms = flush_ms(last_ms, now_ms, grouping)
    if due_ms != last_ms:
        desk.log.set_flush(group, due_ms)
    return group, due_ms
