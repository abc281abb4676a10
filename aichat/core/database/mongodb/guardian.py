"""django-guardian with ObjectId keys. Not in `apps.py`, because importing guardian's configuration registers its checks."""

from guardian.apps import GuardianConfig

from aichat.core.database.mongodb import OBJECT_ID


class MongoGuardianConfig(GuardianConfig):
    default_auto_field = OBJECT_ID
