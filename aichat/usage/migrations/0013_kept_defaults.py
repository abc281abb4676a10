from django.db import migrations

from aichat.core.database.columns import KeepDefaults


class Migration(migrations.Migration):

    dependencies = [
        ('usage', '0012_index_of_kinds'),
    ]

    operations = [
        KeepDefaults('dailyusage', saved=0, saved_nanousd=0, hit_cached_input_tokens=0, hit_input_tokens=0, hit_output_tokens=0, implausible=0, audio_ms=0, characters=0, kind='chat'),
        KeepDefaults('hourlyusage', saved=0, saved_nanousd=0, hit_cached_input_tokens=0, hit_input_tokens=0, hit_output_tokens=0, implausible=0, audio_ms=0, characters=0, kind='chat'),
        KeepDefaults('usagerecord', saved=0, saved_nanousd=0, audio_ms=0, characters=0),
    ]
