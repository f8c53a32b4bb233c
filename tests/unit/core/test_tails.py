import math

import pytest
from scipy import special, stats  # type: ignore[import-untyped]

from pipeline.core.tails import count_tail, gamma_quantile, log_incomplete_beta, log_incomplete_gamma, share_tail


@pytest.mark.parametrize("a", [0.3, 1.0, 4.5, 60.0])
@pytest.mark.parametrize("b", [0.5, 2.0, 50.0])
@pytest.mark.parametrize("x", [1e-6, 0.03, 0.4, 0.7, 0.999])
def test_incomplete_beta_agrees_with_scipy(a: float, b: float, x: float) -> None:
    assert math.exp(log_incomplete_beta(a, b, x)) == pytest.approx(special.betainc(a, b, x), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("a", [0.3, 1.0, 4.5, 60.0])
@pytest.mark.parametrize("x", [1e-6, 0.03, 0.9, 7.0, 80.0])
def test_incomplete_gamma_agrees_with_scipy(a: float, x: float) -> None:
    assert math.exp(log_incomplete_gamma(a, x)) == pytest.approx(special.gammainc(a, x), rel=1e-9)


@pytest.mark.parametrize("mean", [0.05, 1.0, 30.0])
@pytest.mark.parametrize("dispersion", [0.02, 0.5, 3.0])
@pytest.mark.parametrize("observed", [1, 4, 40])
def test_count_tail_of_whole_counts_is_the_negative_binomial(mean: float, dispersion: float, observed: int) -> None:
    r = 1.0 / dispersion
    expected = -stats.nbinom.logsf(observed - 1, r, r / (r + mean)) / math.log(10)
    assert count_tail(observed, mean, dispersion) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("observed", "mean"), [(1, 0.2), (9, 2.0), (25, 30.0)])
def test_without_dispersion_it_is_poisson(observed: int, mean: float) -> None:
    assert count_tail(observed, mean, 0.0) == pytest.approx(-stats.poisson.logsf(observed - 1, mean) / math.log(10), rel=1e-6)


@pytest.mark.parametrize(("k", "n", "share"), [(1, 5, 0.2), (5, 5, 0.1), (30, 80, 0.25), (90, 150, 0.3)])
def test_share_tail_of_whole_counts_is_the_beta_binomial(k: int, n: int, share: float) -> None:
    expected = -stats.betabinom.logsf(k - 1, n, share * 20, (1 - share) * 20) / math.log(10)
    assert share_tail(k, n, share, 20.0) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("k", "n", "share"), [(80, 151, 0.25), (200, 900, 0.2), (500, 900, 0.2), (4_000, 9_000, 0.1)])
def test_share_tail_of_many_is_close_to_the_beta_binomial(k: int, n: int, share: float) -> None:
    expected = -stats.betabinom.logsf(k - 1, n, share * 20, (1 - share) * 20) / math.log(10)
    assert share_tail(k, n, share, 20.0) == pytest.approx(expected, rel=0.06)


def test_tails_grow_with_the_observation_and_stay_finite() -> None:
    grid = [x / 4 for x in range(1, 4000)]
    for tails in ([count_tail(x, 0.01, 0.3) for x in grid], [share_tail(x, 1000, 0.1, 20.0) for x in grid]):
        assert all(math.isfinite(tail) for tail in tails)
        assert tails == sorted(tails)


def test_nothing_observed_is_no_surprise() -> None:
    assert count_tail(0.0, 3.0, 0.1) == 0.0
    assert share_tail(0.0, 0.0, 0.2, 20.0) == 0.0


@pytest.mark.parametrize("mean", [2.0, 20.0])
def test_the_band_is_close_to_the_counts_law(mean: float) -> None:
    r = 1 / 0.3
    exact = stats.nbinom.ppf(0.95, r, r / (r + mean))
    assert gamma_quantile(mean, 0.3, 1.6449) == pytest.approx(exact, rel=0.2)
