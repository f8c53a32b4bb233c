import math

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.decimals import four_decimals


@given(st.floats(-1e12, 1e12) | st.floats(0.0, 1.0) | st.integers(0, 10**9).map(lambda n: n / 20_000))
@example(0.00005)
@example(0.12345)
@example(2.00015)
@example(-0.0)
@example(-1e-9)
@example(1e-320)
@example(99_999.99995)
def test_it_is_what_round_says(value: float) -> None:
    found, expected = four_decimals(value), round(value, 4)
    assert found == expected
    assert math.copysign(1.0, found) == math.copysign(1.0, expected)
