import asyncio
import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from aichat.core.database import executor
from aichat.images.worker import ImageWorker


class Command(BaseCommand):
    help = "Work on the queue of image jobs until SIGTERM or Ctrl-C, then finish those that run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--concurrency", type=int, default=4, help="Jobs at a time.")

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(self.work(max(1, options["concurrency"])))
        executor.close()

    async def work(self, concurrency: int) -> None:
        worker = ImageWorker(concurrency)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, worker.stop)
        self.stdout.write(f"Working on image jobs, {concurrency} at a time.")
        await worker.run()
