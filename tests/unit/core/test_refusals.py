"""A record that is refused says which field, why, and how to mend it."""

import json

import pytest
from pydantic import ValidationError

from pipeline.core.refusals import refusal
from pipeline.errors import Reason
from pipeline.events import ScoredPost
from tests.unit.core.streams import START_MS, scored_post


@pytest.mark.parametrize(
    ("changed", "reason", "field", "fix"),
    [
        ({"sentiment": {"negative": 0.7, "neutral": 0.7, "positive": 0.1}}, Reason.INVALID_VALUE, "sentiment", "sum to 1"),
        ({"event_time_ms": 5}, Reason.TIME_OUT_OF_RANGE, "event_time_ms", "multiply seconds by 1000"),
        ({"available_at_ms": 10**15}, Reason.TIME_OUT_OF_RANGE, "available_at_ms", "divide microseconds"),
        ({"simhash": "xyz"}, Reason.INVALID_VALUE, "simhash", "pattern"),
    ],
)
def test_a_scored_post_is_refused_for_what_is_wrong_with_it(
    changed: dict[str, object], reason: Reason, field: str, fix: str
) -> None:
    value = json.dumps(json.loads(scored_post("1", START_MS).to_json()) | changed).encode()
    with pytest.raises(ValidationError) as caught:
        ScoredPost.model_validate_json(value)
    refused = refusal(caught.value, value)
    assert (refused.reason, refused.field) == (reason, field)
    assert fix in refused.fix
