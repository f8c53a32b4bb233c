"""Tail probabilities of counts, as ``-log10 p``, from the standard library alone.

Everything is computed in logarithms, so that a tail of 1e-400 is a number like any other and never underflows to zero.
The regularised incomplete beta function is evaluated by Lentz's method on its continued fraction (Numerical Recipes §6.4,
DLMF 8.17.22); the incomplete gamma function by its series and continued fraction (DLMF 8.11.4, 8.9.2).
"""

from math import ceil, exp, floor, inf, lgamma, log, log1p, sqrt

LN10 = log(10.0)
_TINY = 1e-300
_PRECISION = 1e-14
_MAX_TERMS = 500
EXACT_TRIALS = 150


def _lentz(term: float, previous: float) -> float:
    value = 1.0 + term / previous
    return value if abs(value) > _TINY else _TINY


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of I_x(a, b); converges fast for x < (a + 1) / (a + b + 2)."""
    c, d = 1.0, 1.0 / _lentz(-(a + b) * x / (a + 1.0), 1.0)
    result = d
    for m in range(1, _MAX_TERMS):
        wide = a + 2 * m
        even = m * (b - m) * x / ((wide - 1.0) * wide)
        odd = -(a + m) * (a + b + m) * x / (wide * (wide + 1.0))
        d = 1.0 / ((1.0 + even * d) or _TINY)
        c = (1.0 + even / c) or _TINY
        result *= d * c
        d = 1.0 / ((1.0 + odd * d) or _TINY)
        c = (1.0 + odd / c) or _TINY
        step = d * c
        result *= step
        if abs(step - 1.0) < _PRECISION:
            break
    return result


def log_incomplete_beta(a: float, b: float, x: float) -> float:
    """Return ln I_x(a, b) for a, b > 0 and 0 <= x <= 1."""
    if x <= 0.0:
        return -inf
    if x >= 1.0:
        return 0.0
    front = a * log(x) + b * log1p(-x) + lgamma(a + b) - lgamma(a) - lgamma(b)
    if x < (a + 1.0) / (a + b + 2.0):
        return front - log(a) + log(_beta_fraction(a, b, x))
    complement = exp(front - log(b)) * _beta_fraction(b, a, 1.0 - x)
    return log1p(-min(complement, 1.0 - 1e-16))


def log_incomplete_gamma(a: float, x: float) -> float:
    """Return ln P(a, x), the regularised lower incomplete gamma function, for a > 0 and x >= 0."""
    if x <= 0.0:
        return -inf
    front = a * log(x) - x - lgamma(a)
    if x < a + 1.0:
        term = total = 1.0 / a
        for n in range(1, _MAX_TERMS):
            term *= x / (a + n)
            total += term
            if term < total * _PRECISION:
                break
        return front + log(total)
    return log1p(-min(exp(front) * _gamma_fraction(a, x), 1.0 - 1e-16))


def _gamma_fraction(a: float, x: float) -> float:
    b = x + 1.0 - a
    c, d = 1.0 / _TINY, 1.0 / (b or _TINY)
    result = d
    for n in range(1, _MAX_TERMS):
        term = -n * (n - a)
        b += 2.0
        d = 1.0 / ((term * d + b) or _TINY)
        c = (b + term / c) or _TINY
        result *= d * c
        if abs(d * c - 1.0) < _PRECISION:
            break
    return result


def count_tail(observed: float, mean: float, dispersion: float) -> float:
    """Return -log10 P(X >= observed) for a negative binomial X of variance ``mean + dispersion * mean**2``.

    ``observed`` need not be whole: P(X >= x) = I_{mean / (mean + r)}(x, r) with r = 1 / dispersion. A dispersion of 0
    is the Poisson limit. Nothing observed is no surprise: 0.
    """
    if observed <= 0.0:
        return 0.0
    mean = max(mean, 1e-12)
    if dispersion < 1e-6:
        return -log_incomplete_gamma(observed, mean) / LN10
    r = 1.0 / dispersion
    return -log_incomplete_beta(observed, r, mean / (mean + r)) / LN10


def share_tail(observed: float, trials: float, share: float, strength: float) -> float:
    """Return -log10 P(X >= observed) for a beta-binomial X of ``trials`` with Beta(share * strength, (1 - share) * strength).

    Between whole numbers the logarithm is interpolated. ``trials`` is rounded; ``observed`` may not exceed it. Beyond
    EXACT_TRIALS the share X / n is taken as beta distributed with the beta-binomial's mean and variance.
    """
    n = max(round(trials), ceil(observed))
    if observed <= 0.0 or n == 0:
        return 0.0
    if n > EXACT_TRIALS:
        return _large_share_tail(observed, n, share, strength)
    low = floor(observed)
    at_low = _whole_share_tail(low, n, share * strength, (1.0 - share) * strength)
    if observed == low:
        return at_low
    at_high = _whole_share_tail(low + 1, n, share * strength, (1.0 - share) * strength)
    return at_low + (observed - low) * (at_high - at_low)


def _large_share_tail(observed: float, n: int, share: float, strength: float) -> float:
    matching = n * (strength + 1.0) / (n + strength) - 1.0  # 1 / (matching + 1) = (1 + (n - 1) / (strength + 1)) / n
    above = (n - observed + 0.5) / n  # with the correction for continuity
    return max(0.0, -log_incomplete_beta((1.0 - share) * matching, share * matching, min(1.0, above)) / LN10)


def _whole_share_tail(k: int, n: int, a: float, b: float) -> float:
    if k <= 0:
        return 0.0
    log_term = (
        lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
        + lgamma(k + a) + lgamma(n - k + b) - lgamma(n + a + b)
        + lgamma(a + b) - lgamma(a) - lgamma(b)
    )  # fmt: skip
    total = ratio = 1.0
    for j in range(k, n):
        ratio *= (n - j) * (j + a) / ((j + 1.0) * (n - j - 1 + b))
        total += ratio
        if ratio < total * 1e-9:
            break
    return max(0.0, -(log_term + log(total)) / LN10)


def gamma_quantile(mean: float, dispersion: float, z: float) -> float:
    """Return the quantile at deviate ``z`` of the gamma law with the count's mean and variance (Wilson and Hilferty 1931)."""
    if mean <= 0.0:
        return 0.0
    variance = mean + dispersion * mean * mean
    shape = mean * mean / variance
    root = 1.0 - 1.0 / (9.0 * shape) + z / (3.0 * sqrt(shape))
    return mean * max(0.0, root) ** 3
