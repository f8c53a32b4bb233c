import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.bodies import MAX_BODY_BYTES, body, group_body, least_bytes
from pipeline.events import Alert, Evidence
from tests.alerts import START_MS, make_alert, make_market_alert


def test_the_body_carries_type_time_and_evidence() -> None:
    sent = json.loads(body(make_alert(revision=1)))
    assert sent["type"] == "alert.updated"
    assert sent["timestamp"] == "2024-01-01T00:15:00.000Z"
    data = sent["data"]
    assert (data["alert_id"], data["revision"], data["observed"], data["score"]) == ("a1", 1, 21.0, 6.5)
    assert data["band"] == {"low": 1.0, "expected": 3.0, "high": 7.0}
    assert data["evidence"][0]["text"] == "ACME recalls 糟糕"
    assert Alert.model_validate(data) == make_alert(revision=1)


@pytest.mark.parametrize("char", ["x", "糟", '"'])
def test_of_a_market_with_long_names_as_many_members_are_told_as_fit(char: str) -> None:
    alert = make_market_alert({f"{number:02}{char * 500}": number < 3 for number in range(40)})
    single, several = body(alert), group_body([alert], {"entity": char * 500})
    assert max(len(single), len(several), least_bytes(alert, {"entity": char * 500})) < MAX_BODY_BYTES
    market = json.loads(single)["data"]["market"]
    told = [member["entity"] for member in market["members"]]
    assert 5 < len(told) < market["exceeding"] == 40
    assert alert.market is not None
    assert told == [member.entity for member in alert.market.members][: len(told)], "the loudest stay"


@pytest.mark.slow
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), min_size=0, max_size=60), max_size=9),
    times=st.integers(1, 3000),
    explanation=st.text(st.characters(codec="utf-8"), max_size=3000),
)
def test_the_body_is_small_and_the_same_for_the_same_alert(texts: list[str], times: int, explanation: str) -> None:
    quoted = [
        Evidence(event_id=str(n), text=text * times, author_id="u", event_time_ms=START_MS, negative=1.0)
        for n, text in enumerate(texts)
    ]
    alert = make_alert(evidence=tuple(quoted), explanation=explanation)
    sent = body(alert)
    assert len(sent) < MAX_BODY_BYTES
    assert len(json.loads(sent)["data"]["evidence"]) <= 5
    assert sent == body(Alert.model_validate_json(alert.to_json()))
