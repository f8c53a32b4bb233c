"""Both delivery logs, for every suite about them."""

from collections.abc import Iterator

import pytest

from pipeline.adapters.delivery_log import DeliveryLog, MemoryDeliveryLog
from pipeline.adapters.redis_delivery_log import RedisDeliveryLog


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.integration)])
def delivery_log(request: pytest.FixtureRequest) -> Iterator[DeliveryLog]:
    if request.param == "memory":
        yield MemoryDeliveryLog()
        return
    log = RedisDeliveryLog.connect(request.getfixturevalue("redis_url"), request.getfixturevalue("key_prefix"))
    yield log
    log.close()
