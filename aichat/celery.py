"""Celery as a dispatcher between machines (`IMAGE_DISPATCHER=celery`): `celery --app aichat worker`.

A message only says "look at this job", and the job's row decides whether it is run. So a lost message costs time (the sweep
of `aichat/images/worker.py` finds the job), and a message that comes twice costs nothing.
"""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aichat.settings")

from celery import Celery
from django.conf import settings

app = Celery("aichat", broker=settings.REDIS_URL)
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 5},
)
app.autodiscover_tasks(["aichat.images"])
