"""Whoever is SUBSCRIBER today was made one by hand: each gets a manual subscription without end."""

from typing import Any

from django.db import migrations
from django.utils import timezone

from aichat.core.database.models import uuid7

AT_ONCE = 500


def give_subscriptions(apps: Any, schema_editor: Any) -> None:
    User, Organization, Membership = (
        apps.get_model("accounts", name) for name in ("User", "Organization", "Membership")
    )
    Subscription = apps.get_model("payments", "Subscription")
    has_one = set(Subscription.objects.values_list("organization__personal_to", flat=True))
    people = User.objects.filter(role="SUBSCRIBER").exclude(pk__in=has_one).order_by("pk")
    now, rows = timezone.now().replace(microsecond=0), []
    for user in people:
        organization = Organization.objects.filter(personal_to=user).first()
        if organization is None:
            organization = Organization.objects.create(name=(user.name or user.email)[:150], personal_to=user)
            Membership.objects.create(organization=organization, user=user, role="OWNER")
        pk = uuid7()
        rows.append(
            Subscription(
                id=pk,
                organization=organization,
                source="manual",
                external_id=str(pk),
                period_start=now,
                created_at=now,
            )
        )
    for start in range(0, len(rows), AT_ONCE):
        Subscription.objects.bulk_create(rows[start : start + AT_ONCE])


class Migration(migrations.Migration):
    dependencies = [("payments", "0002_plans_and_subscriptions")]
    operations = [migrations.RunPython(give_subscriptions, migrations.RunPython.noop, elidable=True)]
