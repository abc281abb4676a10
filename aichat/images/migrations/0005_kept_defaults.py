from django.db import migrations

from aichat.core.database.columns import KeepDefaults


class Migration(migrations.Migration):

    dependencies = [
        ('images', '0004_traceparent'),
    ]

    operations = [
        KeepDefaults('imagejob', webhook_url=''),
        KeepDefaults('webhookdelivery', receiver=''),
    ]
