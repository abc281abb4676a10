"""What the OpenAPI document says holds: schemathesis tries every operation with right and wrong input, against a server.

`make contract` runs it with each role: every boundary once, about a minute and a half, then chance for CONTRACT_SECONDS.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service import Service, running_service

SECONDS = int(os.environ.get("CONTRACT_SECONDS", "60"))
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "allow_header_conformance",
    "unsupported_method",
]
LEFT_OUT = {
    "/api/v1/auth/logout": "it would end the token of the run",
    "/api/v1/auth/logout-all": "the same",
    "/api/v1/me/sessions/{session_id}": "the same: its ID is in the list of logins",
    "/api/v1/billing/checkout": "it asks Stripe, or is the 503 of a server without a key",
    "/api/v1/billing/portal": "the same",
    "/api/v1/images/{job_id}/events": "a stream that lasts as long as its job",
}
# What is not set up is a 503, which would be taken for a fault.
SECRET = "whsec_" + "c2VjcmV0" * 4
SET_UP = {"EMAIL_URL": "console:", "PAYMENTS_WEBHOOK_SECRET": SECRET, "STRIPE_WEBHOOK_SECRET": SECRET}
NO_LIMITS = {f"RATE_LIMIT_{name}": "1000000/min" for name in ("AUTH", "USER", "SUBSCRIBER", "ADMIN")}


def keep_to_the_document(service: Service, token: str, directory: Path, *how: str, longest: float) -> str:
    """Have schemathesis try every operation with a token; the line that counts its cases. Fails with its report."""
    mine = httpx.get(f"{service.address}/api/v1/me", headers={"Authorization": f"Bearer {token}"}, timeout=30).json()
    # Any other organization is a 404 before anything else is looked at.
    organization = f'[parameters]\n"header.X-Organization" = "{mine["organization"]["id"]}"\n'
    (directory / "schemathesis.toml").write_text(organization)
    words = [f"{service.address}/api/schema/", "--header", f"Authorization: Bearer {token}"]
    words += ["--checks", ",".join(CHECKS), "--continue-on-failure", "--request-timeout", "20", "--warnings", "off"]
    words += ["--no-color", "--suppress-health-check", "all"]
    words += [each for path in LEFT_OUT for each in ("--exclude-path", path)]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("schemathesis")), "run", *words, *how],
        capture_output=True,
        text=True,
        timeout=longest,
        check=False,
        cwd=directory,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    still = httpx.get(f"{service.address}/api/v1/me", headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert still.status_code == 200, f"the token ended during the run, whose answers then were 401: {still.text}"
    return next(line.strip() for line in done.stdout.splitlines() if "generated" in line)


@pytest.mark.parametrize("role", ["USER", "ADMIN"])
def test_every_operation_keeps_to_the_document(role: str, tmp_path: Path, capsys: Any) -> None:
    with running_service(
        workers=1, STARTER_CREDITS="100000", MEDIA_ROOT=str(tmp_path), **SET_UP, **NO_LIMITS
    ) as service:
        # A login token: with an API key, the run finds the key in the list of keys and revokes it.
        account = {"email": "user@example.com", "password": "correct horse battery staple"}
        if role == "ADMIN":
            account = {"email": "admin@example.com", "password": service.password}
        how_in = "register" if role == "USER" else "login"
        token = httpx.post(f"{service.address}/api/v1/auth/{how_in}", json=account, timeout=30).json()["token"]
        # The cases of each boundary are some thousands, whatever the time: together with the chance ones they had it all.
        for phase, bound in (("coverage", []), ("fuzzing", ["--max-time", str(SECONDS)])):
            how = ["--phases", phase, "--seed", "1", *bound]
            counted = keep_to_the_document(service, token, tmp_path, *how, longest=SECONDS + 600)
            with capsys.disabled():
                print(f"\n{role}, {phase}: {counted}")  # noqa: T201
        service.manage("verify_ledger")
