from django.db import migrations

from aichat.flags.features import SWITCHES


def write_switches(apps, schema_editor):
    """A row for each of the product's switches, so that operators find them in the admin. On is also their default."""
    Flag = apps.get_model("flags", "Flag")
    for key, description in SWITCHES.items():
        Flag.objects.get_or_create(key=key, defaults={"description": description, "enabled": True})


class Migration(migrations.Migration):
    dependencies = [("flags", "0001_initial")]
    operations = [migrations.RunPython(write_switches, migrations.RunPython.noop, elidable=True)]
