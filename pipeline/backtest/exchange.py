"""When an exchange trades: its sessions are what prices are of, and what market hours mean."""

from dataclasses import dataclass
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from pipeline.errors import ConfigurationError

HOURS = "09:30-16:00"


@dataclass(frozen=True)
class Exchange:
    """Where and when it trades, on weekdays; the dates of prices are its own."""

    timezone: str = "America/New_York"
    opens: time = time(9, 30)
    closes: time = time(16, 0)

    def close_ms(self, day: date) -> int:
        """Return the end of a session in epoch milliseconds, summer time included."""
        return round(datetime.combine(day, self.closes, ZoneInfo(self.timezone)).timestamp() * 1000)

    def is_open(self, time_ms: int) -> bool:
        """Return whether it trades at that time by the clock; holidays are not known."""
        local = datetime.fromtimestamp(time_ms / 1000, ZoneInfo(self.timezone))
        return local.weekday() < 5 and self.opens <= local.time() < self.closes


NEW_YORK = Exchange()


def read_exchange(timezone: str, hours: str) -> Exchange:
    """Return the exchange of a time zone and of trading hours like 09:30-16:00. Raises ConfigurationError."""
    try:
        ZoneInfo(timezone)
    except (ValueError, KeyError, OSError) as error:
        raise ConfigurationError(f"--timezone {timezone!r} is not known; write one like Europe/London") from error
    try:
        opens, closes = (time.fromisoformat(text) for text in hours.split("-"))
    except ValueError as error:
        raise ConfigurationError(f"--hours {hours!r} are no trading hours; write them like 09:30-16:00") from error
    if opens >= closes:
        raise ConfigurationError(f"--hours {hours!r}: the session ends before it begins; write them like 09:30-16:00")
    return Exchange(timezone, opens, closes)
