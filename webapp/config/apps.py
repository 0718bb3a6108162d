from django.apps import AppConfig


class ConfigConfig(AppConfig):
    """Holds the commands and system checks of the whole site."""

    name = "webapp.config"
    label = "config"
