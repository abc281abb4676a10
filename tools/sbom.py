"""Prints a bill of materials of the runtime packages as CycloneDX 1.5 JSON, from the lock file alone.

The format: https://cyclonedx.org/docs/1.5/json/. Run by `make sbom`.
"""

import json
import re
import sys
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)")
DIGEST = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def components(lock: str) -> list[dict[str, Any]]:
    """One component for each pinned package, with the digests of the files that pip accepts for it."""
    found: list[dict[str, Any]] = []
    for line in lock.splitlines():
        if package := PACKAGE.match(line):
            name, version = package[1].lower().replace("_", "-"), package[2]
            url = f"pkg:pypi/{name}@{version}"
            found.append({"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url})
        if found and (digests := DIGEST.findall(line)):
            files = found[-1].setdefault("externalReferences", [])
            files += [
                {"type": "distribution", "url": found[-1]["purl"], "hashes": [{"alg": "SHA-256", "content": digest}]}
                for digest in digests
            ]
    return found


def bill(lock: str) -> dict[str, Any]:
    """The document. Its serial number follows from the lock file, so that the same lock makes the same document."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, lock)}",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "aichat", "bom-ref": "aichat"}},
        "components": components(lock),
    }


if __name__ == "__main__":
    json.dump(bill((ROOT / "requirements.txt").read_text()), sys.stdout, indent=2)
