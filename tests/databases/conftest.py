"""Each engine has tests of its own beside those of all."""

from django.conf import settings

ENGINE = str(settings.DATABASES["default"]["ENGINE"]).rpartition(".")[2]
collect_ignore_glob = [] if ENGINE == "mongodb" else ["test_mongodb*.py", "test_replica_set.py"]
if ENGINE != "sqlite":
    collect_ignore_glob += ["test_sqlite*.py"]
collect_ignore = []
if ENGINE == "sqlite":
    collect_ignore += ["test_lost_commits.py"]  # there is no network between SQLite and its commit
