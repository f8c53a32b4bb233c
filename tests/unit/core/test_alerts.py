from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.alerts import Decision, Incident, Moment, advance, make_alert_id
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.trends import PANE_MS
from pipeline.events import AlertReason, AlertStatus, Rule, Severity
from pipeline.times import DAY_MS, HOUR_MS
from tests.unit.core.streams import START_MS

CONFIG = DetectorConfig()
HOT = Moment(
    rule=Rule.NEGATIVE_SPIKE,
    entity="A",
    end_ms=START_MS,
    starts_at_ms=START_MS - PANE_MS,
    score=5.0,
    threshold=3.0,
    mass=6.0,
    severity=Severity.INFO,
    fires=True,
    vetoed=False,
    active=True,
)
CALM = HOT._replace(score=0.0, fires=False, mass=0.0)


def play(*moments: Moment) -> tuple[Incident | None, list[Decision]]:
    incident, told = None, []
    for moment in moments:
        incident, decision = advance(incident, moment, CONFIG)
        if decision is not None:
            told.append(decision)
    return incident, told


def words(told: list[Decision]) -> list[tuple[AlertStatus, AlertReason]]:
    return [(decision.status, decision.reason) for decision in told]


def test_opens_once_and_says_nothing_while_nothing_changes() -> None:
    _, told = play(HOT, HOT._replace(end_ms=START_MS + PANE_MS))
    assert words(told) == [(AlertStatus.OPENED, AlertReason.SCORE_ABOVE_THRESHOLD)]


def test_a_silent_pane_opens_nothing() -> None:
    assert play(HOT._replace(active=False))[1] == []


def test_growth_updates_and_severity_escalates() -> None:
    more = HOT._replace(end_ms=START_MS + PANE_MS, mass=9.0)
    worse = HOT._replace(end_ms=START_MS + 2 * PANE_MS, mass=9.0, severity=Severity.WARNING)
    incident, told = play(HOT, more, worse)
    assert words(told)[1:] == [
        (AlertStatus.UPDATED, AlertReason.MORE_NEGATIVE_POSTS),
        (AlertStatus.ESCALATED, AlertReason.SEVERITY_ROSE),
    ]
    assert [decision.incident.steps for decision in told] == [1, 2, 3]
    assert incident is not None
    assert incident.severity is Severity.WARNING


def test_resolves_after_two_quiet_hours_and_not_on_a_dip() -> None:
    dip = CALM._replace(end_ms=START_MS + HOUR_MS)
    lukewarm = HOT._replace(end_ms=START_MS + HOUR_MS + PANE_MS, score=1.6, fires=False)
    end = CALM._replace(end_ms=START_MS + 3 * HOUR_MS + PANE_MS)
    assert words(play(HOT, dip, lukewarm, end._replace(end_ms=end.end_ms - PANE_MS))[1])[1:] == []
    incident, told = play(HOT, dip, lukewarm, end)
    assert words(told)[1:] == [(AlertStatus.RESOLVED, AlertReason.QUIET)]
    assert incident is not None
    assert incident.hot_ms == lukewarm.end_ms


def test_a_flood_retracts() -> None:
    _, told = play(HOT, HOT._replace(end_ms=START_MS + PANE_MS, vetoed=True))
    assert words(told)[1:] == [(AlertStatus.RETRACTED, AlertReason.FLOOD)]


def test_a_flood_opens_nothing() -> None:
    assert play(HOT._replace(vetoed=True))[1] == []


def test_within_the_cooldown_the_incident_goes_on_and_after_it_a_new_one_begins() -> None:
    end = CALM._replace(end_ms=START_MS + 2 * HOUR_MS)
    again = HOT._replace(end_ms=START_MS + 5 * HOUR_MS)
    late = HOT._replace(end_ms=START_MS + DAY_MS, starts_at_ms=START_MS + DAY_MS - PANE_MS)
    _, told = play(HOT, end, again)
    assert words(told)[-1] == (AlertStatus.UPDATED, AlertReason.REOPENED_IN_COOLDOWN)
    assert len({decision.incident.alert_id for decision in told}) == 1
    _, told = play(HOT, end, late)
    assert words(told)[-1] == (AlertStatus.OPENED, AlertReason.SCORE_ABOVE_THRESHOLD)
    assert len({decision.incident.alert_id for decision in told}) == 2


def test_ids_depend_on_config_entity_rule_and_first_pane_alone() -> None:
    ids = {
        make_alert_id(config, entity, rule, pane)
        for config in ("a", "b")
        for entity in ("x", "y")
        for rule in (Rule.NEGATIVE_SPIKE, Rule.NEGATIVE_TREND)
        for pane in (0, PANE_MS)
    }
    assert len(ids) == 16
    assert make_alert_id("a", "x", Rule.NEGATIVE_SPIKE, 0) in ids


moments = st.builds(
    lambda score, mass, severity, vetoed, active: HOT._replace(
        score=score, mass=mass, severity=severity, fires=score >= HOT.threshold, vetoed=vetoed, active=active
    ),
    st.sampled_from([0.0, 1.4, 1.6, 3.0, 9.0]),
    st.floats(0, 50),
    st.sampled_from(Severity),
    st.integers(0, 9).map(lambda n: n == 0),
    st.booleans(),
)
gaps = st.sampled_from([PANE_MS, HOUR_MS, 3 * HOUR_MS, DAY_MS])


@given(st.lists(st.tuples(gaps, moments), max_size=40))
def test_whatever_happens_the_steps_of_a_life_follow_each_other(steps: list[tuple[int, Moment]]) -> None:
    now_ms, timed = START_MS, []
    for gap_ms, moment in steps:
        now_ms += gap_ms
        timed.append(moment._replace(end_ms=now_ms, starts_at_ms=now_ms - PANE_MS))
    _, told = play(*timed)
    openings = [decision.incident for decision in told if decision.status is AlertStatus.OPENED]
    assert all(later.opened_ms - before.opened_ms >= CONFIG.lifecycle.cooldown_ms for before, later in pairwise(openings))
    assert len({incident.alert_id for incident in openings}) == len(openings)
    ended = {AlertStatus.RESOLVED, AlertStatus.RETRACTED}
    for before, now in pairwise(told):
        if now.status is AlertStatus.OPENED:
            assert (before.status in ended, now.incident.steps) == (True, 1)
            continue
        assert now.incident.alert_id == before.incident.alert_id
        assert now.incident.steps == before.incident.steps + 1
        assert (now.status in ended) == (not now.incident.is_open)
        assert (before.status in ended) == (now.reason is AlertReason.REOPENED_IN_COOLDOWN)
