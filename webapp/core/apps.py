from django.apps import AppConfig


class CoreConfig(AppConfig):
    """Holds what every app uses: fields, filters of templates, checks of input."""

    name = "webapp.core"
    label = "core"
