"""The table of periodic tasks: one row says when a task is next due and which process holds its lease."""

from django.db import models


class PeriodicTask(models.Model):
    """The lease of one periodic task, shared by all processes of all hosts."""

    name = models.CharField(max_length=100, primary_key=True, db_column="_id")
    due_at = models.DateTimeField(help_text="While it runs: when it counts as dead, and may be run by another.")
    holder = models.UUIDField(null=True, editable=False, help_text="The process that runs it, or ran it last.")
    finished_at = models.DateTimeField(null=True, editable=False)

    def __str__(self) -> str:
        return self.name
