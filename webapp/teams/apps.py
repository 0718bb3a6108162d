from django.apps import AppConfig


class TeamsConfig(AppConfig):
    name = "webapp.teams"
    label = "teams"

    def ready(self) -> None:
        from allauth.account.signals import user_logged_in

        from webapp.teams.accounts import accept_pending_invitation

        user_logged_in.connect(accept_pending_invitation, dispatch_uid="teams.join_pending")
