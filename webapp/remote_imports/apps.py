"""The app of imports from other services with OpenAI's API."""

from django.apps import AppConfig


class RemoteImportsConfig(AppConfig):
    name = "webapp.remote_imports"
