from django.db import migrations

from aichat.core.database.columns import KeepDefaults


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0009_provider_keys'),
    ]

    operations = [
        KeepDefaults('aimodel', image_tokens=2500, structured_output=True, tools=True, vision=True, fallback_on=[], aliases=[]),
        KeepDefaults('provider', api_key_env='', base_url='', extra_headers={}, profile='', quirks={}),
        KeepDefaults('price', character_cost=0, character_price=0, minute_cost=0, minute_price=0),
    ]
