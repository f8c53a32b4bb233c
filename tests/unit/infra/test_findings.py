from infra.findings import Check, Finding, examine
from pipeline.errors import ConfigurationError


def fails(error: Exception) -> list[Finding]:
    raise error


def test_an_error_of_a_check_is_a_finding_and_the_others_are_looked_at() -> None:
    found = examine(
        [
            Check("redis", lambda: fails(ConfigurationError("no address", "set GROUNDSWELL_REDIS__URL"))),
            Check("disk", lambda: fails(PermissionError(13, "Permission denied", "/proc/1/fd"))),
            Check("memory", list),
        ]
    )
    (ours,), (foreign,), none = found.values()
    assert (ours.message, ours.fix) == ("no address", "set GROUNDSWELL_REDIS__URL")
    assert "PermissionError: [Errno 13] Permission denied: '/proc/1/fd'" in foreign.message
    assert foreign.fix
    assert none == []
