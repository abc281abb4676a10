"""Pages of the admin that need more than one app; Django finds them here."""

from admin_dashboard.experiments import admin as experiments

__all__ = ["experiments"]
