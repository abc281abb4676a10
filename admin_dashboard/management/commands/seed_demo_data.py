import time
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from admin_dashboard.demo import generator
from aichat.usage.models import RollupState
from aichat.usage.rollup import rebuild, roll_up

WIDTH = 30


class Command(BaseCommand):
    help = """Fill an empty installation with made-up people and their weeks, for a look at a full dashboard.

    The people have addresses in demo.example and no passwords. Safe to run again: people who are there already are not
    made twice. Refuses a database with real users, unless --force.
    """

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--users", type=int, default=20, help="How many people (20).")
        parser.add_argument("--days", type=int, default=30, help="How many days, today included (30).")
        parser.add_argument("--seed", type=int, default=1, help="Another number tells another story.")
        parser.add_argument("--usage-rows", type=int, default=0, help="Further usage records, uncharged, for scale.")
        parser.add_argument("--force", action="store_true", help="Also beside real users.")

    def handle(self, *args: Any, **options: Any) -> None:
        for name, least in (("users", 1), ("days", 1), ("usage_rows", 0)):
            if options[name] < least:
                raise CommandError(f"--{name.replace('_', '-')} is {least} or more.")
        if generator.has_real_data() and not options["force"]:
            raise CommandError(
                "There are real users here: use another DATABASE_URL, or --force to add the demo's to them."
            )
        self.shown_at = 0.0
        # A running server has summed up the past days, when they had no records yet.
        is_rolled_up = RollupState.objects.exists()
        if generator.demo_users().exists():
            self.stdout.write("The people of the demo are here already: none were added.")
        else:
            demo = generator.Demo(
                users=options["users"], days=options["days"], seed=options["seed"], progress=self.progress
            )
            chats = demo.make()
            self.stdout.write(f"{options['users']} people had {chats} chats in {options['days']} days.")
        if options["usage_rows"]:
            generator.add_usage(
                options["usage_rows"], days=options["days"], seed=options["seed"], progress=self.progress
            )
        added = roll_up()
        if is_rolled_up:
            rebuild(timezone.now().date() - timedelta(days=options["days"]))
        self.stdout.write(f"{'The' if is_rolled_up else added} usage records were rolled up. Look at /admin/.")

    def progress(self, what: str, done: int, total: int) -> None:
        """Print progress: a bar on a terminal, else one line every ten seconds."""
        now, is_over = time.monotonic(), done >= total
        if self.stderr.isatty():
            if is_over or now - self.shown_at > 0.1:
                self.shown_at = now
                bar = "█" * (WIDTH * done // total)
                self.stderr.write(f"\r{what:<14} {bar:·<{WIDTH}} {done:,} of {total:,}", ending="\n" if is_over else "")
        elif is_over or now - self.shown_at > 10:
            self.shown_at = now
            self.stderr.write(f"{what}: {done:,} of {total:,}")
