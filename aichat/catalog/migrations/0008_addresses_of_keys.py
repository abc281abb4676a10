"""Where each key is sent outlives the provider that names it."""

from urllib.parse import urlsplit

from django.db import migrations, models

import aichat.core.database.models


def keep_addresses(apps, schema_editor):
    """Keep where the keys of the providers that there are go to; of two that share one, the first one's."""
    provider, key_address = apps.get_model("catalog", "Provider"), apps.get_model("catalog", "KeyAddress")
    for row in provider.objects.exclude(api_key_env="").order_by("pk"):
        parts = urlsplit(row.base_url)
        address = f"{parts.scheme}://{parts.netloc}".lower()
        key_address.objects.get_or_create(variable=row.api_key_env, defaults={"address": address})


class Migration(migrations.Migration):
    dependencies = [
        ("catalog", "0007_aliases"),
    ]

    operations = [
        migrations.CreateModel(
            name="KeyAddress",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_column="_id",
                        default=aichat.core.database.models.uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("variable", models.CharField(max_length=100, unique=True)),
                ("address", models.CharField(max_length=500)),
            ],
            options={"abstract": False},
        ),
        migrations.RunPython(keep_addresses, migrations.RunPython.noop, elidable=True),
    ]
