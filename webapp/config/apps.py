from django.apps import AppConfig


class ConfigConfig(AppConfig):
    """The site's own app: its management commands."""

    name = "webapp.config"
    label = "config"
