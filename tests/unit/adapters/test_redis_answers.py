"""What Redis may answer, as redis-py says it: what passes is Unavailable, what does not stays what it is."""

from unittest.mock import Mock

import pytest
import redis

from pipeline.adapters.redis_admin import facts
from pipeline.adapters.redis_answers import answering, make_client
from pipeline.adapters.redis_delivery_log import RedisDeliveryLog
from pipeline.adapters.redis_store import RedisProfileStore, connect
from pipeline.errors import ConfigurationError, Unavailable

FULL_DISK = "MISCONF Errors writing to the AOF file: No space left on device"


def refusing(error: redis.exceptions.RedisError) -> Mock:
    """Return a client whose every read is answered with one error."""
    return Mock(hget=Mock(side_effect=error))


@pytest.mark.parametrize(
    "answer",
    [
        FULL_DISK,
        "NOREPLICAS Not enough good replicas to write.",
        "BUSY Redis is busy running a script.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        f"Command # 1 (FCALL groundswell_v1_write 1 user 0) of pipeline caused error: {FULL_DISK}",
    ],
)
def test_an_error_that_passes_is_unavailable_and_does_not_repeat_the_command(answer: str) -> None:
    with pytest.raises(Unavailable) as caught:
        RedisProfileStore(refusing(redis.exceptions.ResponseError(answer)), "a:").get("u")
    assert "Redis does not answer: " in str(caught.value)
    assert "FCALL" not in str(caught.value)


@pytest.mark.parametrize("kind", [redis.exceptions.MasterDownError, redis.exceptions.ClusterDownError])
def test_an_error_that_passes_and_has_a_class_is_unavailable(kind: type[redis.exceptions.ResponseError]) -> None:
    with pytest.raises(Unavailable), answering():
        raise kind("Link with MASTER is down")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (redis.exceptions.NoPermissionError("User bob has no permissions to run the 'fcall' command"), "let this user: User bob"),
        (redis.exceptions.ResponseError("DB index is out of range"), "name a database that it has in GROUNDSWELL_REDIS__URL"),
        (
            redis.exceptions.ResponseError("DENIED Redis is running in protected mode"),
            "refuses: DENIED .*; give Redis a password",
        ),
        (redis.exceptions.MovedError("866 10.0.0.1:6379"), "one node of a cluster; set GROUNDSWELL_REDIS__URL"),
        (redis.exceptions.InvalidResponse("Protocol error"), r"is no Redis \(Protocol error\); set GROUNDSWELL_REDIS__URL"),
    ],
)
def test_what_somebody_must_set_right_is_an_error_that_says_how(error: redis.exceptions.RedisError, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        RedisProfileStore(refusing(error), "a:").get("u")


@pytest.mark.parametrize("answer", ["WRONGTYPE Operation against a key", "BUSYGROUP Consumer Group name already exists", ""])
def test_any_other_error_stays_what_it_is(answer: str) -> None:
    with pytest.raises(redis.exceptions.ResponseError), answering():
        raise redis.exceptions.ResponseError(answer)


@pytest.mark.parametrize("url", ["nonsense", "", "http://redis:6379", "redis://:hush#word@redis:6379/0"])
def test_what_is_no_address_is_named_by_its_variable_and_not_quoted(url: str) -> None:
    for make in (
        lambda: make_client(url, 1.0),
        lambda: facts(url),
        lambda: connect(url),
        lambda: RedisDeliveryLog.connect(url, ""),
    ):
        with pytest.raises(ConfigurationError, match=r"^GROUNDSWELL_REDIS__URL is no address .*redis://HOST") as caught:
            make()
        assert "hush" not in str(caught.value)
