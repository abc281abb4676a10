"""The migrated database of a run: made once, while the workers collect the tests, and copied by whoever needs one.

All migrations cost nine seconds of CPU, a copy next to none. Each worker needs a database, and with SQLite each service
that a test starts (`tests/service.py`). A run without workers has no such database: what it needs it migrates itself.
"""

import fcntl
import os
import shutil
import tempfile
import traceback
from pathlib import Path
from signal import SIGTERM
from typing import Any

from django.db import connection

from tests.engines import end_with_parent

VARIABLE = "TEST_SCHEMA"  # the folder of what is made, which the workers inherit
NAME = "migrated"  # of the database on a server


def make_beside() -> None:
    """Start the making in a child of this process, which holds the folder's lock until it ends."""
    # Not at the top: it sets the environment, which benchmarks that start services must not inherit.
    from tests.settings import DIRECTORY

    directory = Path(tempfile.mkdtemp(dir=DIRECTORY))
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fork() == 0:  # everything is imported already, and no thread runs yet
            end_with_parent(SIGTERM)
            try:
                make(directory)
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(0)  # not as the tests end: what they clean up is still in use
    os.environ[VARIABLE] = str(directory)


def make(directory: Path) -> None:
    """Make the database; its mark says that it is whole."""
    database = connection.settings_dict["TEST"]
    database["NAME"] = directory / "db.sqlite3" if connection.vendor == "sqlite" else NAME
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    connection.close()
    (directory / "done").touch()


def made() -> Path | None:
    """The folder of the run's database, once it is there; None when there is none, or its making failed."""
    directory = Path(os.environ.get(VARIABLE, "/nowhere"))
    if not directory.is_dir():
        return None
    with (directory / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
    return directory if (directory / "done").exists() else None


def copy_file(path: Path) -> bool:
    """Copy the SQLite file to the path; whether there was one."""
    directory = made()
    if directory is None or not (directory / "db.sqlite3").exists():
        return False
    shutil.copyfile(directory / "db.sqlite3", path)
    return True


def copy_to_test_database() -> bool:
    """Make this worker's database a copy of the run's; whether there was one."""
    if made() is None:
        return False
    creation: Any = connection.creation  # of one of the engines
    name = creation._get_test_db_name()
    if connection.vendor == "sqlite":
        return copy_file(Path(name))
    if connection.vendor == "mongodb":
        copy_collections(name)
    else:
        with creation._nodb_cursor() as cursor:
            cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE "{NAME}"')
    return True


def copy_collections(name: str) -> None:
    """MongoDB copies no databases: collections, indexes and documents are read and written."""
    connection.ensure_connection()
    client = connection.connection
    source, target = client[NAME], client[name]
    for info in source.list_collections():
        collection = source[info["name"]]
        target.create_collection(info["name"], **info["options"])
        indexes = [{key: value for key, value in index.items() if key != "v"} for index in collection.list_indexes()]
        if others := [index for index in indexes if index["name"] != "_id_"]:
            target.command("createIndexes", info["name"], indexes=others)
        if documents := list(collection.find()):
            target[info["name"]].insert_many(documents)
