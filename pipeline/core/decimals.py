"""Rounding to the four decimals that records carry."""

_UNITS = 10_000.0


def four_decimals(value: float) -> float:
    """Return ``round(value, 4)``, to the last bit, in less than half its time.

    ``round`` goes by the decimal digits, for the sake of ties. Where the value is no tie, the nearest whole number of units
    is plain, and one division of two whole numbers is rounded correctly.
    """
    units = value * _UNITS
    if 0.0 < units < 1e9:
        nearest = int(units + 0.5)
        if -0.4999 < units - nearest < 0.4999:
            return nearest / _UNITS
    return round(value, 4) if value else value
