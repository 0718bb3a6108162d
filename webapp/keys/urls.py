"""URLs of a team's API keys, below ``/t/<team>/api-keys/``."""

from django.urls import path

from webapp.keys import views

app_name = "keys"
urlpatterns = [
    path("", views.list_keys, name="list"),
    path("<str:uid>/revoke/", views.revoke, name="revoke"),
]
