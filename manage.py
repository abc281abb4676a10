#!/usr/bin/env python
"""Command line of the project: `python manage.py help` lists the commands."""

import os
import sys

# Commands that work without a database. All others ask first whether one is there.
WITHOUT_DATABASE = {
    "check",
    "diffsettings",
    "help",
    "makemessages",
    "compilemessages",
    "makemigrations",
    "spectacular",
    "version",
}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aichat.settings")
    os.umask(0o077)  # databases, pictures and keys are their owner's alone
    try:
        import django
    except ModuleNotFoundError:
        sys.exit(
            "Django is not installed for this Python: `make run` makes .venv, then it is .venv/bin/python manage.py …"
        )
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import Error as DatabaseError

    try:
        # First of all, so that a wrong setting is one line for every command, not a traceback or a report.
        django.setup()
        from django.conf import settings

        from aichat.core.config import checks, reachable

        needs_database = bool(sys.argv[1:]) and sys.argv[1] not in WITHOUT_DATABASE
        if needs_database and (problem := reachable.database_problem(settings.DATABASES["default"])):
            sys.exit(problem)
        checks.stop_on_errors()
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Configuration error: {error}")
    except DatabaseError as error:
        sys.exit(f"Database error: {error}. Is DATABASE_URL right, and did `manage.py migrate` run?")


if __name__ == "__main__":
    main()
