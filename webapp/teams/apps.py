from django.apps import AppConfig


class TeamsConfig(AppConfig):
    name = "webapp.teams"
    label = "teams"

    def ready(self) -> None:
        from allauth.account.signals import user_logged_in

        from webapp.teams.accounts import join_pending

        user_logged_in.connect(join_pending, dispatch_uid="teams.join_pending")
