"""The Celery app. A message only wakes a worker; what to do is in PostgreSQL."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.config.settings")
app = Celery("groove")
app.config_from_object("django.conf:settings", namespace="CELERY")
