"""Exponential forgetting by half-lives: what is left at the end of a span, and on average of what came evenly in it."""

from math import log

LN2 = log(2.0)


def decayed(half_lives: float) -> tuple[float, float]:
    """Return (decay, mean decay) over so many half-lives: 2^-h, and the integral of 2^-x from 0 to h, over h."""
    decay = 2.0**-half_lives
    return decay, (1.0 - decay) / (LN2 * half_lives) if half_lives > 1e-9 else 1.0
