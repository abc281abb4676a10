from typing import Any

from django.db import migrations, models
from django.utils import timezone


def confirm_all(apps: Any, schema_editor: Any) -> None:
    """People who were here before addresses were confirmed count as confirmed."""
    apps.get_model("accounts", "User").objects.update(email_confirmed_at=timezone.now())


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_analytics_consent")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="email_confirmed_at",
            field=models.DateTimeField(
                blank=True,
                editable=False,
                help_text="When the person last proved that they read this address.",
                null=True,
            ),
        ),
        migrations.RunPython(confirm_all, migrations.RunPython.noop),
    ]
