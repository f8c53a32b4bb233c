from pipeline.core.corrections import reconcile, settled_alerts
from pipeline.events import Alert, AlertReason, AlertStatus, Rule
from tests.alerts import make_alert

OPENED = make_alert("a", 0, status=AlertStatus.OPENED, starts_at_ms=1_699_999_800_000, event_time_ms=1_700_000_100_000, score=4.0)
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


def test_an_alert_whose_beginning_moved_is_replaced_and_not_called_off() -> None:
    earlier = OPENED.model_copy(update={"alert_id": "c", "starts_at_ms": OPENED.starts_at_ms - 300_000})
    records = told_in_all([OPENED], [earlier])
    gone = next(record for record in records if record.alert_id == "a")
    assert (gone.status, gone.reason) == (AlertStatus.RETRACTED, AlertReason.REPLACED)
    assert "goes on as alert c" in gone.explanation
    assert earlier in records
    assert settled_alerts(records) == {"c": earlier}


def test_what_ended_before_or_began_after_it_replaces_no_alert() -> None:
    ended = OPENED.model_copy(update={"alert_id": "c", "ends_at_ms": OPENED.starts_at_ms - 1})
    flood = OPENED.model_copy(update={"alert_id": "d", "rule": Rule.COORDINATED_ACTIVITY})
    later = OPENED.model_copy(update={"alert_id": "e", "starts_at_ms": OPENED.event_time_ms + 1})
    for other in (ended, flood, later):
        gone = next(record for record in told_in_all([OPENED], [other]) if record.alert_id == "a")
        assert gone.reason is AlertReason.CORRECTED_BELOW_THRESHOLD
