"""What the database says in the end, for `tests.soak.cluster`: run with the settings of a host, prints JSON."""

import django

django.setup()  # before our models can be imported

from collections import Counter
from typing import Any

import orjson
from django.db.models import Sum

from aichat.images.models import ImageJob, Picture
from aichat.usage.models import UsageRecord
from credits.models import Hold, LedgerEntry, Wallet


def charges() -> dict[str, list[int]]:
    """Request ID to the microcredits of each of its charges."""
    found: dict[str, list[int]] = {}
    rows = LedgerEntry.objects.filter(kind="CHARGE").values_list("request_id", "amount")
    for request_id, amount in rows.iterator():
        found.setdefault(request_id, []).append(-amount)
    return found


def main() -> dict[str, Any]:
    wallets = Wallet.objects.aggregate(available=Sum("available"), held=Sum("held"))
    jobs = ImageJob.objects.values_list("pk", "status", "attempts", "request_id")
    return {
        "charges": charges(),
        "entries": LedgerEntry.objects.aggregate(sum=Sum("amount"))["sum"],
        "wallets": wallets["available"] + wallets["held"],
        "holds": Counter(Hold.objects.values_list("state", flat=True)),
        "final_records": UsageRecord.objects.filter(final=True, charged__gt=0).count(),
        "jobs": {str(pk): [status, attempts, request_id] for pk, status, attempts, request_id in jobs},
        "pictures": Counter(str(job) for job in Picture.objects.values_list("job_id", flat=True)),
    }


if __name__ == "__main__":
    print(orjson.dumps(main()).decode())  # noqa: T201
