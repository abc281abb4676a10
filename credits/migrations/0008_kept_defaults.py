from django.db import migrations

from aichat.core.database.columns import KeepDefaults


class Migration(migrations.Migration):

    dependencies = [
        ('credits', '0007_rollover'),
    ]

    operations = [
        KeepDefaults('hold', refunded=0),
        KeepDefaults('creditexpiry', rolls=False, rolls_into=''),
    ]
