"""The verbs of `silence` on a log in memory; the Redis of the integration tests keeps what they write."""

import json
import re

import pytest
import typer
from typer.testing import CliRunner

from pipeline.adapters.delivery_log import MemoryDeliveryLog
from pipeline.adapters.webhook import WebhookReceiver
from pipeline.commands import silence
from pipeline.core.delivery import Status
from pipeline.errors import ConfigurationError
from tests.alerts import make_alert, make_delivery
from tests.receivers import SECRET

URL = "https://example.org/hook"
SAID = ("--author", "wei", "--comment", "earnings call")


class KeptLog(MemoryDeliveryLog):
    def close(self) -> None:
        """Stay."""


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> KeptLog:
    kept = KeptLog()
    monkeypatch.setattr(silence, "_connect", lambda _settings: kept)
    monkeypatch.setattr(silence, "wall_clock_ms", lambda: 1_704_100_000_000)
    monkeypatch.setenv("GROUNDSWELL_NOTIFY__ENDPOINTS", json.dumps([{"url": URL, "secrets": [SECRET]}]))
    return kept


def run(*arguments: str) -> str:
    app = typer.Typer()
    silence.register(app)
    return CliRunner().invoke(app, ["silence", *arguments], catch_exceptions=False).output


def refused(*arguments: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        run("add", *arguments)
    return str(error.value)


def test_a_silence_is_added_listed_and_expired(log: KeptLog) -> None:
    added = run("add", "entity=ACME", "severity!=critical", *SAID, "--for", "2h")
    span = "2024-01-01 09:06 to 2024-01-01 11:06 UTC"
    assert re.fullmatch(rf"[0-9a-f]{{8}}  active   {span}  entity=ACME severity!=critical  wei: earnings call\n", added)
    assert run("list") == f"{added}1 silence\n"
    silence_id = added.split()[0]
    assert run("expire", silence_id).startswith(f"{silence_id}  ended    2024-01-01 09:06 to 2024-01-01 09:06 UTC")
    (shown,) = json.loads(run("list", "--json"))
    assert (shown["state"], shown["author"], shown["held"], shown["silence_id"]) == ("ended", "wei", 0, silence_id)


def test_the_list_says_how_many_alerts_each_holds_back(log: KeptLog) -> None:
    run("add", "entity=ACME", *SAID)
    endpoint = WebhookReceiver(URL, [SECRET], timeout_s=1.0).endpoint
    for name in ("a1", "a2"):
        log.hold(make_delivery(make_alert(name), endpoint, status=Status.SILENCED), ended=False)
    log.hold(make_delivery(make_alert("b1", entity="BOLT"), endpoint, status=Status.INHIBITED), ended=False)
    assert run("list").splitlines()[0].endswith("wei: earnings call  holds 2")


def test_a_silence_may_begin_later(log: KeptLog) -> None:
    said = run("add", "rule=market_wide", *SAID, "--between", "2024-01-02T08:00", "2024-01-02T09:00+00:00")
    assert "  pending  2024-01-02 08:00 to 2024-01-02 09:00 UTC  rule=market_wide" in said


def test_without_an_author_it_is_who_is_logged_in(log: KeptLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "getuser", lambda: "liwei")
    assert "  liwei: call" in run("add", "entity=ACME", "--comment", "call")

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(silence, "getuser", nobody)
    assert refused("entity=ACME", "--comment", "call").endswith("say who silences: --author NAME")


def test_what_makes_no_sense_is_refused_and_nothing_is_kept(log: KeptLog) -> None:
    assert "without a matcher would hide everything" in refused(*SAID)
    assert "--comment '': write 1 to 512" in refused("entity=ACME", "--author", "wei")
    assert "--for '2 weeks': write a number of minutes, hours or days" in refused("entity=ACME", *SAID, "--for", "2 weeks")
    assert "which is past" in refused("entity=ACME", *SAID, "--between", "2023-01-01", "2023-01-02")
    assert "time 'now' is not a date" in refused("entity=ACME", *SAID, "--between", "now", "2024-01-02")
    assert "drop one" in refused("entity=ACME", *SAID, "--for", "1h", "--between", "2024-01-01", "2024-01-02")
    assert log.silences() == []


def test_an_unknown_silence_cannot_be_expired(log: KeptLog) -> None:
    with pytest.raises(ConfigurationError, match="no silence is called 'ffff'; run: groundswell silence list"):
        run("expire", "ffff")
