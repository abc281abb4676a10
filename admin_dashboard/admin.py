"""Registers the admin pages that belong to no single app; Django's autodiscovery imports this module."""

from admin_dashboard.experiments import admin as experiments
from admin_dashboard.pages import people
from aichat.core.admin import audit_page

__all__ = ["audit_page", "experiments", "people"]
