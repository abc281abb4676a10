from django.db import migrations

from aichat.core.database.columns import KeepDefaults


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0010_operator_alerts'),
    ]

    operations = [
        KeepDefaults('plan', credits_expire=False, prorate=False, stripe_price=''),
        KeepDefaults('payment', disputes={}, restored=0, switched_down=0),
        KeepDefaults('alertsettings', hours={}, told_hour=''),
    ]
