from django.apps import AppConfig


class TeamsConfig(AppConfig):
    name = "webapp.teams"
    label = "teams"

    def ready(self) -> None:
        from allauth.account.signals import user_logged_in, user_signed_up

        from webapp.teams.accounts import join_pending, welcome

        user_signed_up.connect(welcome, dispatch_uid="teams.welcome")
        user_logged_in.connect(join_pending, dispatch_uid="teams.join_pending")
