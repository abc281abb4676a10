"""Django's own apps with ObjectId keys instead of integer keys. `migrations/` holds the tables of these apps."""

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
