"""The app of interactions and feedback."""

from django.apps import AppConfig


class InteractionsConfig(AppConfig):
    name = "webapp.interactions"
