from datetime import UTC, datetime, timedelta, timezone

import pytest

from pipeline.times import epoch_ms, iso_ms

NOON = datetime(2014, 7, 1, 12, 0, 0, 123_000, UTC)
NOON_MS = 1_404_216_000_123


def test_a_moment_without_a_zone_is_utc() -> None:
    assert epoch_ms(NOON.replace(tzinfo=None)) == epoch_ms(NOON) == NOON_MS
    assert epoch_ms(NOON.replace(tzinfo=timezone(timedelta(hours=2)))) == NOON_MS - 7_200_000


def test_a_written_time_is_a_date_or_a_time_with_or_without_a_zone() -> None:
    assert iso_ms("2014-07-01T12:00:00.123") == iso_ms("2014-07-01 14:00:00.123+02:00") == NOON_MS
    assert iso_ms("2014-07-01") == NOON_MS - 43_200_123


def test_a_fraction_is_rounded_to_the_nearest_millisecond() -> None:
    assert iso_ms("2014-07-01T12:00:00.122999") == NOON_MS


@pytest.mark.parametrize("text", ["", "yesterday", "1404172800"])
def test_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="isoformat"):
        iso_ms(text)
