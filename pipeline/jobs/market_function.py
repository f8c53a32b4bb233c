"""The second keyed function of the Flink job: the operator of groups, fed with the digests of their members' panes.

It buffers and folds as the first one does. What a digest's lateness goes by is the watermark at which it came: all digests of
panes that end by a watermark are told before that watermark arrives here, however far it jumped.
"""

from typing import Any

from pyflink.common import Row
from pyflink.datastream import KeyedProcessFunction

from pipeline.core.fold import Arrival, Held, fold_at_once
from pipeline.core.market import make_market_operator
from pipeline.core.pane_digest import decode_digest
from pipeline.core.trends import Operator, Step
from pipeline.jobs.market_stage import newest_before
from pipeline.jobs.trends_function import FoldingFunction, Mark


class MarketFunction(FoldingFunction):
    """Digests by group in; the group's alerts out."""

    def _make_operator(self) -> Operator[Any, Any]:
        return make_market_operator(self._job.detector)

    def _times(self, value: Row, ctx: KeyedProcessFunction.Context, mark: Mark) -> tuple[int, int]:  # noqa: ARG002
        watermark_ms = ctx.timer_service().current_watermark()
        return value[2], newest_before(watermark_ms, self._job.detector.out_of_orderness_ms)

    def _apply(self, held: Held[Any], ready: list[Arrival], until_ms: int) -> tuple[Step, list[Row]]:
        digests = [(arrival, decode_digest(arrival.payload)) for arrival in ready]
        return fold_at_once(self._operator, held, digests, until_ms, self._job.detector.out_of_orderness_ms), []
