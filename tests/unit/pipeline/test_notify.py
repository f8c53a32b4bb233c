"""`notify --reopen` on a log in memory; tests/integration runs the notifier."""

import json

import pytest
import typer
from typer.testing import CliRunner

from pipeline.adapters.delivery_log import MemoryDeliveryLog
from pipeline.adapters.webhook import WebhookReceiver
from pipeline.commands import notify
from pipeline.core.delivery import EndpointState
from pipeline.errors import ConfigurationError
from tests.receivers import SECRET

URLS = ("https://example.org/s3cret", "https://example.com/s3cret")


class KeptLog(MemoryDeliveryLog):
    def close(self) -> None:
        """Stay."""


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, logging_restored: None) -> KeptLog:
    kept = KeptLog()
    monkeypatch.setattr(notify, "_connect", lambda _settings: kept)
    monkeypatch.setattr(notify, "_run", lambda *_: pytest.fail("a second notifier was started"))
    endpoints = [{"url": url, "secrets": [SECRET]} for url in URLS]
    monkeypatch.setenv("GROUNDSWELL_NOTIFY__ENDPOINTS", json.dumps(endpoints))
    for url in URLS:
        kept.set_endpoint(endpoint(url), EndpointState(gone=True))
    return kept


def endpoint(url: str) -> str:
    return WebhookReceiver(url, [SECRET], 1.0).endpoint


def run(*arguments: str) -> str:
    app = typer.Typer()
    notify.register(app)
    return CliRunner().invoke(app, arguments, catch_exceptions=False).output


def test_an_endpoint_is_opened_again_and_the_command_ends(log: KeptLog) -> None:
    assert run("--reopen", URLS[0]) == f"example.org ({endpoint(URLS[0])[:6]}) is used again, by the notifier that runs\n"
    assert not log.endpoint(endpoint(URLS[0])).gone
    assert log.endpoint(endpoint(URLS[1])).gone


@pytest.mark.parametrize("other", ["https://example.org/", "https://example.org/s3cret/"])
def test_an_address_that_is_not_set_is_an_error_that_names_those_that_are(log: KeptLog, other: str) -> None:
    with pytest.raises(ConfigurationError, match="example.org .*, example.com ") as error:
        run("--reopen", URLS[1], "--reopen", other)
    assert "s3cret" not in str(error.value)
    assert log.endpoint(endpoint(URLS[1])).gone, "all or nothing"
