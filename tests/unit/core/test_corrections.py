from pipeline.core.corrections import reconcile, settled_alerts
from pipeline.events import Alert, AlertReason, AlertStatus
from tests.alerts import make_alert

OPENED = make_alert(alert_id="a", revision=0, status=AlertStatus.OPENED, event_time_ms=1_700_000_100_000, score=4.0)
UPDATED = make_alert(alert_id="a", revision=1, status=AlertStatus.UPDATED, event_time_ms=1_700_000_200_000, score=5.0)
OTHER = make_alert(alert_id="b", revision=0, status=AlertStatus.OPENED, event_time_ms=1_700_000_300_000)


def told_in_all(told: list[Alert], again: list[Alert], corrections: dict[str, int] | None = None) -> list[Alert]:
    return reconcile(told, again, {} if corrections is None else corrections)


def test_what_stays_true_is_not_told_again() -> None:
    assert told_in_all([OPENED, UPDATED], [OPENED, UPDATED]) == []


def test_what_is_new_is_told() -> None:
    assert told_in_all([OPENED], [OPENED, UPDATED, OTHER]) == [UPDATED, OTHER]


def test_a_changed_step_is_told_again_with_a_higher_revision() -> None:
    changed = OPENED.model_copy(update={"score": 4.5})
    corrections: dict[str, int] = {}
    assert told_in_all([OPENED], [changed], corrections) == [changed.model_copy(update={"revision": 1})]
    assert corrections == {"a": 1}


def test_a_step_that_never_was_is_replaced_by_the_one_before() -> None:
    assert told_in_all([OPENED, UPDATED], [OPENED]) == [OPENED.model_copy(update={"revision": 2})]


def test_an_alert_that_never_was_is_retracted_and_comes_back_above_that() -> None:
    corrections: dict[str, int] = {}
    (record,) = told_in_all([OPENED, UPDATED], [], corrections)
    assert (record.status, record.reason, record.revision) == (
        AlertStatus.RETRACTED,
        AlertReason.CORRECTED_BELOW_THRESHOLD,
        2,
    )
    (again,) = told_in_all([], [OPENED], corrections)
    assert again.revision == 3


def test_corrections_add_up() -> None:
    corrections: dict[str, int] = {}
    first = OPENED.model_copy(update={"score": 4.5})
    second = OPENED.model_copy(update={"score": 4.7})
    revisions = [
        told_in_all([OPENED], [first], corrections)[-1].revision,
        told_in_all([first], [second], corrections)[-1].revision,
    ]
    assert revisions == [1, 2]


def test_settled_is_the_highest_revision_without_what_was_taken_back() -> None:
    taken_back = told_in_all([OTHER], [])
    settled = settled_alerts([OTHER, OPENED, UPDATED, *taken_back])
    assert settled == {"a": UPDATED.model_copy(update={"revision": 0})}
