from django.db import migrations

from aichat.core.database.columns import KeepDefaults


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0017_issuer_groups'),
    ]

    operations = [
        KeepDefaults('accesstoken', rate_limit='', allowed_ips=[], allowed_models=[], ends_by_rotation=False, scopes=[]),
        KeepDefaults('organization', revision=0),
        KeepDefaults('user', revision=0),
    ]
