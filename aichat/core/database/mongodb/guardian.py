"""Apart from `apps.py`, because importing this registers guardian's system checks."""

from guardian.apps import GuardianConfig

from aichat.core.database.mongodb import OBJECT_ID


class MongoGuardianConfig(GuardianConfig):
    default_auto_field = OBJECT_ID
