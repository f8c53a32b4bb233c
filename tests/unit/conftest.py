"""What unit tests of several folders share."""

from pathlib import Path

import pytest

from infra.home import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A stack's home that nothing in the environment or on this account knows of."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("GROUNDSWELL_HOME", "GROUNDSWELL_KAFKA__BOOTSTRAP", "GROUNDSWELL_REDIS__URL"):
        monkeypatch.delenv(name, raising=False)
    return Home(tmp_path / "home")
