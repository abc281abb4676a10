"""A little of `make contract` with every run of the tests: two cases of each operation, always the same ones."""

from pathlib import Path

from tests.contract import NO_LIMITS, keep_to_the_document
from tests.service import running_service


def test_every_operation_keeps_to_the_document_at_a_glance(tmp_path: Path) -> None:
    with running_service(workers=1, MEDIA_ROOT=str(tmp_path), **NO_LIMITS) as service:
        how = ["--phases", "fuzzing", "--max-examples", "2", "--generation-deterministic"]
        keep_to_the_document(service, service.key, tmp_path, *how, longest=180)
