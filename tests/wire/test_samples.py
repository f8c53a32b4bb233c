"""One committed record per contract, which must decode for ever: whoever breaks this breaks what stands in users' topics.

A new optional field does not change the samples. ``REGENERATE=1`` rewrites them; do that only for a new contract.
"""

import json
import os
from pathlib import Path
from typing import Final

import pytest
from jsonschema import Draft202012Validator

from pipeline.contract import Contract
from pipeline.errors import Reason
from pipeline.events import (
    Action,
    Alert,
    AlertGroup,
    AlertReason,
    AlertStatus,
    Band,
    BehaviorEvent,
    DeadLetter,
    Evidence,
    MarketMember,
    MarketWide,
    Rule,
    ScoredPost,
    Sentiment,
    Severity,
    SocialPost,
    Trend,
    WindowEvidence,
)
from pipeline.topics import TOPICS

SAMPLES: Final = Path(__file__).parent / "samples"
T: Final = 1_704_103_200_000
BAND: Final = Band(low=1.5, expected=4.25, high=9.0)
EXPECTED: Final[dict[str, Contract]] = {
    "BehaviorEvent": BehaviorEvent(
        event_id="e-1",
        event_time_ms=T,
        available_at_ms=T + 250,
        user_id="user-7",
        action=Action.RATE,
        item_id="coffee-3-1",
        item_text="轻便摩卡壶",
        value=4.5,
        session_id="session-7-0",
        source="shop",
    ),
    "SocialPost": SocialPost(
        event_id="p-1",
        event_time_ms=T,
        available_at_ms=T + 900,
        author_id="author-3",
        text='$QDLN tanking today 📉, "worst" decision\nof my year',
        language="en",
        source="synthetic",
        entities=("QDLN", "夸德汽车"),
        repost_of="p-0",
        author_created_ms=1_400_000_000_000,
        followers=42,
        url="posts/p-1",
    ),
    "ScoredPost": ScoredPost(
        event_id="p-1",
        event_time_ms=T,
        entity="QDLN",
        author_id="author-3",
        text="$QDLN tanking today 📉",
        sentiment=Sentiment(negative=0.9123, neutral=0.0677, positive=0.02),
        intents={"complaint": 0.75, "question": 0.125},
        simhash="00ff12ab34cd56ef",
        model="intfloat/multilingual-e5-small",
        model_revision="r1",
        language="en",
        source="synthetic",
        repost_of="p-0",
        author_created_ms=1_400_000_000_000,
        followers=42,
        url="posts/p-1",
    ),
    "Trend": Trend(
        event_time_ms=T + 300_000,
        entity="QDLN",
        window_start_ms=T,
        window_end_ms=T + 300_000,
        revision=1,
        posts=12,
        posts_effective=9.5,
        negative_mass=7.25,
        positive_mass=1.5,
        negative_share=0.76,
        authors=11,
        clusters=9,
        band=BAND,
        score=5.5,
        detector_version="1",
    ),
    "Alert": Alert(
        event_time_ms=T + 300_000,
        alert_id="0123456789abcdef",
        revision=2,
        status=AlertStatus.ESCALATED,
        rule=Rule.NEGATIVE_SPIKE,
        reason=AlertReason.SEVERITY_ROSE,
        severity=Severity.CRITICAL,
        entity="QDLN",
        starts_at_ms=T,
        ends_at_ms=T + 900_000,
        score=5.5,
        threshold=3.25,
        observed=12.0,
        band=BAND,
        lift=2.8,
        negative_share=0.76,
        negative_share_before=0.2,
        posts=12,
        posts_effective=9.5,
        authors=11,
        clusters=9,
        duplicates_removed=3,
        late_posts=1,
        baseline_age_ms=86_400_000,
        cold_start=True,
        would_not_fire_below=6,
        windows=(WindowEvidence(size_ms=900_000, observed=12.0, band=BAND, tail_log10=-6.5, share_of_score=0.6),),
        evidence=(
            Evidence(event_id="p-1", text="跌跌不休", author_id="a", event_time_ms=T, negative=0.91, count=4, url="posts/p-1"),
        ),
        explanation="12 posts where 4 are usual, 76 % negative",
        detector_version="1",
        config_hash="abcd",
        model="intfloat/multilingual-e5-small",
        model_revision="r1",
    ),
    "DeadLetter": DeadLetter(
        reason=Reason.INVALID_JSON,
        field="record",
        value="{",
        fix="write one JSON object",
        topic="groundswell.posts",
        partition=3,
        offset=17,
        first_seen_ms=T,
        timestamp_ms=T - 5,
        key=b"\x00\xff",
        payload=b'{"text": "\xff\xfe',
    ),
}
ADDED_LATER: Final = {"share_tail_log10", "share_of_score", "market"}  # optional, and absent from records that stand in topics
MARKET: Final = MarketWide(
    factor=2.15,
    entities=68,
    exceeding=7,
    members=(MarketMember(entity="QDLN", observed=11.8, expected=1.25, residual=6.5, threshold=3.25, own=True),),
)
EXPECTED["Alert-market"] = EXPECTED["Alert"].model_copy(
    update={"rule": Rule.MARKET_WIDE, "entity": "market:all", "market": MARKET, "share_tail_log10": -1.5, "share_of_score": 0.25}
)
EXPECTED["AlertGroup"] = AlertGroup(group={"rule": "negative_spike"}, alerts=(EXPECTED["Alert"],))
CONTRACTS: Final = {name: type(expected) for name, expected in EXPECTED.items()}


def sample(name: str) -> bytes:
    path = SAMPLES / f"{name}.json"
    if os.environ.get("REGENERATE") == "1":
        path.write_bytes(EXPECTED[name].to_json() + b"\n")
    return path.read_bytes()


def test_every_contract_has_a_sample() -> None:
    assert {topic.contract for topic in TOPICS} | {AlertGroup} == set(CONTRACTS.values())


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_the_sample_decodes_to_what_it_always_meant(name: str) -> None:
    assert CONTRACTS[name].model_validate_json(sample(name)) == EXPECTED[name]


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_the_sample_names_every_field(name: str) -> None:
    absent = set(CONTRACTS[name].model_fields) - set(json.loads(sample(name)))
    assert absent <= {"available_at_ms", *ADDED_LATER}, "a new field needs a value in EXPECTED only if it is required"


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_unknown_fields_are_kept_out(name: str) -> None:
    newer = json.loads(sample(name)) | {"added_by_a_newer_version": {"deep": [1]}}
    decoded = CONTRACTS[name].model_validate_json(json.dumps(newer))
    assert decoded == EXPECTED[name]
    assert b"added_by" not in decoded.to_json()


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_the_exported_schema_accepts_the_sample_and_refuses_another_record(name: str) -> None:
    schema = CONTRACTS[name].model_json_schema(mode="serialization")
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    validator.validate(json.loads(sample(name)))
    assert not validator.is_valid({"event_id": 5})


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_optional_fields_may_be_absent(name: str) -> None:
    contract = CONTRACTS[name]
    required = {field for field, info in contract.model_fields.items() if info.is_required()}
    least = {field: value for field, value in json.loads(sample(name)).items() if field in required}
    decoded = contract.model_validate_json(json.dumps(least))
    assert contract.model_validate_json(decoded.to_json()) == decoded
