"""A form of the admin is saved wholly or not at all, whatever the engine."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from credits.models import CreditPlan
from tests.conftest import Actor


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", ["add", "delete"])
def test_what_the_audit_log_does_not_take_does_not_happen(
    ada: Actor, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    console = Client(raise_request_exception=False)
    console.force_login(ada.user)
    plan = CreditPlan.objects.create(role="SUBSCRIBER", amount=7)

    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("the log is full")

    for way in ("create", "bulk_create"):
        monkeypatch.setattr(LogEntry.objects, way, fail)
    monkeypatch.setattr(LogEntry, "save", fail)
    url = reverse(f"admin:credits_creditplan_{page}", args=[plan.pk] if page == "delete" else [])
    assert console.post(url, {"role": "USER", "amount": "5", "post": "yes"}).status_code == 500
    assert [plan.role for plan in CreditPlan.objects.all()] == ["SUBSCRIBER"]
