"""The ledger's tests run over both ways in which it moves credits."""

import pytest

from credits import engines


@pytest.fixture(params=["engine", "portable"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the statements of the database in use, and with the portable ones they must equal."""
    if request.param == "portable":
        monkeypatch.setattr(engines, "ENGINES", {})
    return str(request.param)
