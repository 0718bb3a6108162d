"""The app of API keys."""

from django.apps import AppConfig


class KeysConfig(AppConfig):
    name = "webapp.keys"
