"""The verb `doctor` where no server is needed; the faults themselves are tested beside the checks."""

import json

import pytest
import typer
from typer.testing import CliRunner

from infra.findings import Finding, error
from pipeline.commands import doctor


def test_settings_that_cannot_be_read_are_the_one_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDSWELL_STACK__KAFKA_PORT", "high")
    app = typer.Typer()
    doctor.register(app)
    done = CliRunner().invoke(app, ["--json"])
    report = json.loads(done.stdout)
    assert (done.exit_code, report["ok"], report["checks"]) == (1, False, ["settings"])
    (found,) = report["findings"]
    assert "GROUNDSWELL_STACK__KAFKA_PORT: Input should be a valid integer" in found["message"]
    assert found["fix"].endswith("unset GROUNDSWELL_STACK__KAFKA_PORT")


def test_a_finding_is_shown_as_it_is_whatever_it_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    found: list[Finding] = [error("java", "no Java in [/opt/java]", "pip install 'groundswell[stack]'")]
    doctor._show({"java": found, "disk": []})
    shown = capsys.readouterr().out
    assert "java: no Java in [/opt/java]" in shown
    assert "fix: pip install 'groundswell[stack]'" in shown
    assert "ok       disk" in shown
