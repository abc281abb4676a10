"""Pages of the admin that belong to no single app: Django finds them here."""

from admin_dashboard.experiments import admin as experiments
from aichat.core.admin import audit_page

__all__ = ["audit_page", "experiments"]
