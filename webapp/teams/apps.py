from django.apps import AppConfig


class TeamsConfig(AppConfig):
    name = "webapp.teams"
    label = "teams"

    def ready(self) -> None:
        from allauth.account.signals import user_signed_up

        from .accounts import welcome

        user_signed_up.connect(welcome, dispatch_uid="teams.welcome")
