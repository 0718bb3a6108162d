"""URLs of imports from another service, below ``/t/<team>/import/``."""

from django.urls import path

from webapp.remote_imports import views

app_name = "remote_imports"
urlpatterns = [
    path("", views.connect, name="connect"),
    path("start/", views.start, name="start"),
    path("<str:uid>/", views.show, name="show"),
    path("<str:uid>/cancel/", views.cancel, name="cancel"),
]
