"""Fills the catalog when a server starts, so that an operator who sets the key of a provider gets its models."""

import logging

from django.conf import settings
from django.db import DatabaseError

from aichat.catalog.sync import sync_models
from aichat.core.background import lifecycle
from aichat.core.database import executor, transactions

logger = logging.getLogger(__name__)


@lifecycle.on_startup
async def fill_catalog() -> None:
    """Add the models that are missing. A database that does not answer is no reason not to start."""
    if not settings.FILL_CATALOG:
        return
    try:
        new = await executor.run(sync_models)
    except DatabaseError as error:
        if transactions.is_unavailable(error):
            return  # the start has said so; the next start fills it
        logger.warning("the catalog could not be filled (%s): run manage.py migrate", error)
        return
    if new:
        logger.info("new in the catalog: %s", ", ".join(new))
