from django.db import migrations

from aichat.core.database.columns import KeepDefaults


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0007_branches_pins_and_links'),
    ]

    operations = [
        KeepDefaults('message', reasoning=''),
    ]
