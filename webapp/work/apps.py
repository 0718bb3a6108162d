from django.apps import AppConfig


class WorkConfig(AppConfig):
    name = "webapp.work"
    label = "work"
