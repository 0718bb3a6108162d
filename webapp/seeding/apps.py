from django.apps import AppConfig


class SeedingConfig(AppConfig):
    """Holds the commands that fill a database."""

    name = "webapp.seeding"
    label = "seeding"
