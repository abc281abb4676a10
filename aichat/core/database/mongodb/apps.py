"""Apps of others, whose keys are integers, with keys that MongoDB has. `migrations/` holds their tables with these."""

from django.contrib.admin.apps import AdminConfig
from django.contrib.auth.apps import AuthConfig
from django.contrib.contenttypes.apps import ContentTypesConfig

from aichat.core.database.mongodb import OBJECT_ID


class MongoAdminConfig(AdminConfig):
    default = False
    default_auto_field = OBJECT_ID


class MongoAuthConfig(AuthConfig):
    default_auto_field = OBJECT_ID


class MongoContentTypesConfig(ContentTypesConfig):
    default_auto_field = OBJECT_ID
