"""What an operator asks of Redis: version, persistence, eviction, memory, clock, and which commands it has."""

from dataclasses import dataclass
from typing import Any

import redis

from pipeline.adapters.redis_answers import answering, make_client
from pipeline.errors import Unavailable


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """One Redis as it stands. Memory in bytes, 0 of ``max_memory`` meaning no limit; ``time_ms`` is its own clock."""

    version: tuple[int, int]
    has_functions: bool
    has_vector_sets: bool
    eviction_policy: str
    append_only: bool
    used_memory: int
    max_memory: int
    time_ms: int


def facts(url: str, timeout_s: float = 5.0) -> RedisFacts:
    """Return what a Redis says of itself. Raises Unavailable where it does not answer, ConfigurationError where it refuses."""
    client = make_client(url, timeout_s, decode_responses=True)
    try:
        with client, answering("start it with: groundswell up"):
            return _facts(client)
    except (redis.exceptions.RedisError, OSError) as error:
        raise Unavailable(f"Redis cannot be asked: {error}", "start it with: groundswell up") from error


def _facts(client: "redis.Redis") -> RedisFacts:
    info: dict[str, Any] = client.info("everything")
    major, minor = str(info["redis_version"]).split(".")[:2]
    seconds, microseconds = client.time()
    return RedisFacts(
        version=(int(major), int(minor)),
        has_functions=_has(client, "FCALL"),
        has_vector_sets=_has(client, "VADD"),
        eviction_policy=str(info["maxmemory_policy"]),
        append_only=bool(info["aof_enabled"]),
        used_memory=int(info["used_memory"]),
        max_memory=int(info["maxmemory"]),
        time_ms=seconds * 1000 + microseconds // 1000,
    )


def _has(client: "redis.Redis", command: str) -> bool:
    answer: list[Any] | dict[str, Any] = client.execute_command("COMMAND INFO", command)  # type: ignore[no-untyped-call]
    values = answer.values() if isinstance(answer, dict) else answer
    return any(value is not None for value in values)
