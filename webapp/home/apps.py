from django.apps import AppConfig


class HomeConfig(AppConfig):
    name = "webapp.home"
    label = "home"

    def ready(self) -> None:
        from allauth.account.signals import user_signed_up

        from webapp.home.newcomers import welcome_newcomer

        user_signed_up.connect(welcome_newcomer, dispatch_uid="home.welcome_newcomer")
