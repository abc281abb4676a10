"""The database engine for MongoDB: MongoDB's own Django backend, with the indexes and errors our code relies on.

`DATABASE_URL=mongodb://…` selects the engine. Third-party apps number their rows with integers, which MongoDB can't do: this
package has configurations and migrations for those apps with MongoDB's own keys (ObjectId).
"""

OBJECT_ID = "aichat.core.database.mongodb.fields.ObjectIdAutoField"
APP_CONFIGS = {
    "django.contrib.admin": "aichat.core.database.mongodb.apps.MongoAdminConfig",
    "django.contrib.auth": "aichat.core.database.mongodb.apps.MongoAuthConfig",
    "django.contrib.contenttypes": "aichat.core.database.mongodb.apps.MongoContentTypesConfig",
    "guardian": "aichat.core.database.mongodb.guardian.MongoGuardianConfig",
}
MIGRATION_MODULES = {
    name.rpartition(".")[2]: f"aichat.core.database.mongodb.migrations.{name.rpartition('.')[2]}"
    for name in APP_CONFIGS
}
