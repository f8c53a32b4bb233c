import json
from pathlib import Path

import pytest

from pipeline import settings
from pipeline.errors import ConfigurationError


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GROUNDSWELL_HOME", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def write_stack(home: Path, bootstrap: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "stack.json").write_text(json.dumps({"settings": {"kafka": {"bootstrap": bootstrap}}}), "utf-8")


def test_the_running_stack_gives_the_endpoints(tmp_path: Path) -> None:
    write_stack(tmp_path, "127.0.0.1:4001")
    assert settings.load(tmp_path).kafka.bootstrap == "127.0.0.1:4001"


def test_the_environment_wins_over_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stack(tmp_path, "127.0.0.1:4001")
    monkeypatch.setenv("GROUNDSWELL_KAFKA__BOOTSTRAP", "broker:9092")
    loaded = settings.load(tmp_path)
    assert loaded.kafka.bootstrap == "broker:9092"
    assert loaded.kafka.topic_prefix == "groundswell."


def test_the_last_started_stack_is_found_without_options(tmp_path: Path) -> None:
    write_stack(tmp_path / "here", "127.0.0.1:4002")
    pointer = settings.current_home_file()
    pointer.parent.mkdir(parents=True)
    pointer.write_text(str(tmp_path / "here"), "utf-8")
    assert settings.load().kafka.bootstrap == "127.0.0.1:4002"


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("GROUNDSWELL_KAFKA__BOOTSTRAPS", "x", "GROUNDSWELL_KAFKA__BOOTSTRAPS: is no setting; .* unset GROUNDSWELL_KAFKA__BOOT"),
        ("GROUNDSWELL_STACK__REDIS_PORT", "high", "GROUNDSWELL_STACK__REDIS_PORT: Input should be a valid integer"),
        ("GROUNDSWELL_STACK__KAFKA_PORT", "70000", "GROUNDSWELL_STACK__KAFKA_PORT: Input should be less than or equal to 65535"),
        (
            "GROUNDSWELL_TRENDS__ALLOWED_LATENESS_MS",
            "-5",
            "TRENDS__ALLOWED_LATENESS_MS: Input should be greater than or equal to 0",
        ),
        ("GROUNDSWELL_TRENDS__PARALLELISM", "0", "TRENDS__PARALLELISM: Input should be greater than 0"),
        ("GROUNDSWELL_NOTIFY__ENDPOINTS", '[{"url": "http://x"}]', r"NOTIFY__ENDPOINTS \[0\] \[secrets\]: Field required"),
        ("GROUNDSWELL_NOTIFY__GROUP_BY", "hush", r'NOTIFY__GROUP_BY: Value error, write a JSON list, as in \["rule"\]'),
        ("GROUNDSWELL_NOTIFY__GROUP_BY", '["price"]', r"NOTIFY__GROUP_BY \[0\]: Input should be 'entity', 'rule' or 'severity'"),
        ("GROUNDSWELL_NOTIFY__ENDPOINTS", "hush", 'field "notify" .*: Expecting value.*written as JSON'),
    ],
)
def test_a_wrong_variable_is_named_and_its_value_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=told) as caught:
        settings.load(tmp_path)
    assert "hush" not in str(caught.value)


def test_several_wrong_variables_are_named_with_one_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GROUNDSWELL_STACK__REDIS_PORT", "high")
    monkeypatch.setenv("GROUNDSWELL_TRENDS__PARALLELISM", "0")
    with pytest.raises(ConfigurationError, match=r"PARALLELISM: .*STACK__REDIS_PORT: ") as caught:
        settings.load(tmp_path)
    assert caught.value.fix == "set it right, or: unset GROUNDSWELL_TRENDS__PARALLELISM GROUNDSWELL_STACK__REDIS_PORT"


def test_secrets_are_not_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GROUNDSWELL_KAFKA__SASL_PASSWORD", "hush")
    assert "hush" not in repr(settings.load(tmp_path))
