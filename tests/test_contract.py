"""A little of `make contract` with every run of the tests: two cases of each operation, always the same ones."""

from pathlib import Path

import httpx
import pytest

from tests.contract import NO_LIMITS, SET_UP, keep_to_the_document
from tests.service import running_service


@pytest.mark.long
def test_every_operation_keeps_to_the_document_at_a_glance(tmp_path: Path) -> None:
    with running_service(workers=1, MEDIA_ROOT=str(tmp_path), **SET_UP, **NO_LIMITS) as service:
        # A login token: with an API key, the run finds the key in the list of keys and revokes it.
        account = {"email": "admin@example.com", "password": service.password}
        token = httpx.post(f"{service.address}/api/v1/auth/login", json=account, timeout=30).json()["token"]
        how = ["--phases", "fuzzing", "--max-examples", "2", "--generation-deterministic"]
        keep_to_the_document(service, token, tmp_path, *how, longest=180)
