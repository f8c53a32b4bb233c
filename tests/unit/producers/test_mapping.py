import math
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.errors import ConfigurationError
from pipeline.events import BehaviorEvent, SocialPost
from producers.mapping import compile_mapping, load_mapping

EXAMPLES = Path(__file__).parents[3] / "examples"
POST = {"event_id": "id", "event_time_ms": "t", "author_id": "who", "text": "text"}
TIME = 1_700_000_000_123


def mapped(fields: dict[str, Any], row: dict[str, Any], contract: str = "post", **top: Any) -> dict[str, Any]:
    base = POST if contract == "post" else {"event_time_ms": "t", "user_id": "who", "action": {"const": "click"}}
    return compile_mapping({"contract": contract, "fields": base | fields} | top, "m.yaml").apply(row)


ROW = {"id": 17, "t": TIME, "who": 5, "text": "hello"}


def test_columns_become_fields_and_ids_become_text() -> None:
    assert mapped({}, ROW) == {"event_id": "17", "event_time_ms": TIME, "author_id": "5", "text": "hello"}


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("ms", TIME, TIME),
        ("ms", str(TIME), TIME),
        ("s", 1_700_000_000, 1_700_000_000_000),
        ("s", "1700000000.5", 1_700_000_000_500),
        ("us", 1_700_000_000_123_456, TIME),
        ("iso", "2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("iso", "2023-11-14T22:13:20", 1_700_000_000_000),
        ("iso", "2023-11-15 06:13:20.123+08:00", TIME),
        ("ms", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), 1_700_000_000_000),
        ("ms", date(2023, 11, 14), 1_699_920_000_000),
        ("ms", "2023-11-14", 1_699_920_000_000),
        ("iso", "yesterday", "yesterday"),
        ("s", Decimal("1700000000.0"), 1_700_000_000_000),
        ("s", Decimal("1700000000.5"), 1_700_000_000_500),
        ("s", True, True),
        ("s", "inf", "inf"),
    ],
)
def test_times_come_in_four_units(unit: str, value: Any, expected: Any) -> None:
    assert mapped({"event_time_ms": {"from": "t", "unit": unit}}, ROW | {"t": value})["event_time_ms"] == expected


def test_numbers_of_a_database_are_ids_too() -> None:
    assert mapped({}, ROW | {"id": Decimal("17")})["event_id"] == "17"


@pytest.mark.parametrize(("number", "text"), [(17.0, "17"), (-3.0, "-3"), (1.5, "1.5"), (2**70, str(2**70)), (0.0, "0")])
def test_a_number_is_the_same_id_however_a_table_writes_it(number: float, text: str) -> None:
    row = mapped({"url": {"template": "at {who}"}, "entities": {"list": "who"}}, ROW | {"who": number})
    assert (row["author_id"], row["url"], row["entities"]) == (text, f"at {text}", [text])


@pytest.mark.parametrize("value", [math.nan, math.inf, 1.2345678901234567e19, {"name": "A"}, ["A", "B"]])
def test_what_is_neither_text_nor_an_exact_number_is_no_id(value: Any) -> None:
    fields = mapped({"url": {"template": "at {who}"}}, ROW | {"who": value})
    with pytest.raises(ValidationError) as caught:
        SocialPost.model_validate(fields)
    assert [error["loc"][0] for error in caught.value.errors()] == ["author_id", "url"]


@pytest.mark.parametrize("item", [None, math.nan, {"name": "A"}, True, ["A"]])
def test_what_is_no_name_is_refused_in_a_list(item: Any) -> None:
    for listed in (["A", item], item) if isinstance(item, (float, dict)) else (["A", item],):
        with pytest.raises(ValidationError, match="entities"):
            SocialPost.model_validate(mapped({"entities": {"list": "names"}}, ROW | {"names": listed}))


@pytest.mark.parametrize(
    "flag", [None, False, 0, 0.0, math.nan, "", " ", "0", "0.0", "FALSE", "no", "off", "null", "None", "nan"]
)
def test_what_is_not_true_is_none_of_it(flag: Any) -> None:
    assert "repost_of" not in mapped({"repost_of": {"const": "?", "when": "rt"}}, ROW | {"rt": flag})


@pytest.mark.parametrize("source", [None, ""])
def test_a_source_without_a_name_is_none(source: Any) -> None:
    assert mapped({}, {"t": TIME, "who": "a"}, source=source) == mapped({}, {"t": TIME, "who": "a"})


def test_const_template_list_and_when() -> None:
    fields = {
        "language": {"const": "en"},
        "url": {"template": "at {who}/{id}"},
        "entities": {"list": "tickers"},
        "repost_of": {"const": "?", "when": "rt"},
    }
    full = mapped(fields, ROW | {"tickers": ["A", "B"], "rt": True})
    assert (full["language"], full["url"], full["entities"], full["repost_of"]) == ("en", "at 5/17", ["A", "B"], "?")
    bare = mapped(fields, ROW | {"who": None, "tickers": "A", "rt": "False"})
    assert bare["entities"] == ["A"]
    assert bare.keys() & {"url", "repost_of", "author_id"} == set()


def test_an_id_is_made_of_source_and_content() -> None:
    row = {"t": TIME, "who": "a"}
    first = mapped({}, row, "behavior", source="shop")["event_id"]
    assert first == mapped({}, dict(reversed(row.items())), "behavior", source="shop")["event_id"]
    others = [mapped({}, row | {"who": "b"}, "behavior", source="shop"), mapped({}, row, "behavior", source="other")]
    assert first not in {each["event_id"] for each in others}


def test_the_source_is_a_field_unless_mapped() -> None:
    assert mapped({}, ROW, source="s")["source"] == "s"
    assert mapped({"source": "who"}, ROW, source="s")["source"] == "5"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("nothing", "holds no keys"),
        ({"contract": "tweet", "fields": POST}, r"contract = 'tweet'; use one of post, behavior"),
        ({"contract": "post", "fields": POST, "feilds": {}}, r"unknown key 'feilds'; known are contract, fields, source"),
        ({"contract": "post", "fields": POST | {"txt": "a"}}, r"unknown key 'txt'; known are .*author_id.*text"),
        ({"contract": "post", "fields": {"text": "a"}}, "needs author_id, event_time_ms; add under fields"),
        ({"contract": "post", "fields": {}}, "fields is empty"),
        ({"contract": "post", "fields": POST | {"url": {"form": "a"}}}, r"field url: unknown key 'form'"),
        ({"contract": "post", "fields": POST | {"url": {"when": "a"}}}, "needs exactly one of const, from, list, template"),
        ({"contract": "post", "fields": POST | {"url": 5}}, "5 is no form"),
        ({"contract": ["post"], "fields": POST}, r"contract = \['post'\]; use one of post, behavior"),
        (
            {"contract": "post", "fields": POST | {"url": {"const": date(2020, 1, 1)}}},
            "field url: .* put dates and times in quotes",
        ),
        ({"contract": "post", "fields": POST, "source": date(2020, 1, 1)}, "source: .* put dates and times in quotes"),
        ({"contract": "post", "fields": POST | {"url": {"template": "{a"}}}, "is broken"),
        (
            {"contract": "post", "fields": POST | {"url": {"template": "{a.__class__}"}}},
            "column names in braces and nothing else",
        ),
        *(
            ({"contract": "post", "fields": POST | {"url": {"template": template}}}, "column names in braces and nothing else")
            for template in ("{a:d}", "{a!r}", "{a:{b}}", "{}")
        ),
        ({"contract": "post", "fields": POST | {"event_time_ms": {"from": "t", "unit": "h"}}}, "unit = 'h'; use one of iso, ms"),
    ],
)
def test_a_wrong_mapping_is_explained(document: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        compile_mapping(document, "m.yaml")


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "m.yaml"
    bad.write_text("a: [")
    with pytest.raises(ConfigurationError, match=r"m\.yaml cannot be read"):
        load_mapping(bad)
    with pytest.raises(ConfigurationError, match=r"absent\.yaml cannot be read"):
        load_mapping(tmp_path / "absent.yaml")


def test_the_digest_follows_the_meaning() -> None:
    one = compile_mapping({"contract": "post", "fields": POST}, "a")
    assert one.digest == compile_mapping({"fields": dict(reversed(POST.items())), "contract": "post"}, "b").digest
    assert one.digest != compile_mapping({"contract": "post", "fields": POST | {"url": "u"}}, "a").digest


def test_the_example_for_posts_fits_a_row_of_that_form() -> None:
    row = {"event_id": "1", "event_time_ms": TIME, "entity": "AAPL", "author_id": "2", "followers": 3, "text": "x"}
    mapping = load_mapping(EXAMPLES / "stocknet_2014.yaml")
    post = mapping.contract.model_validate(mapping.apply(row | {"author_created_ms": TIME - 5, "repost": True}))
    assert post == SocialPost(
        event_id="1",
        event_time_ms=TIME,
        author_id="2",
        text="x",
        entities=("AAPL",),
        followers=3,
        author_created_ms=TIME - 5,
        language="en",
        source="stocknet",
        repost_of="?",
    )
    assert "repost_of" not in mapping.apply(row | {"repost": False})


def test_the_example_for_clicks_fits_a_row_of_that_form() -> None:
    mapping = load_mapping(EXAMPLES / "yoochoose_clicks.yaml")
    event = mapping.contract.model_validate(mapping.apply({"session_id": 3, "item_id": 214, "event_time_ms": TIME}))
    assert isinstance(event, BehaviorEvent)
    assert (event.user_id, event.item_id, event.item_text, event.session_id) == ("session-3", "214", "item 214", "3")
    assert len(event.event_id) == 32
