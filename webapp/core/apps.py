from django.apps import AppConfig


class CoreConfig(AppConfig):
    """Code that every app uses: model fields, template filters, input checks."""

    name = "webapp.core"
    label = "core"
