"""URLs of eval runs, below ``/t/<team>/evals/``."""

from django.urls import path

from webapp.evals import views

app_name = "evals"
urlpatterns = [
    path("", views.list_runs, name="list"),
    path("<str:uid>/", views.show_run, name="run"),
    path("<str:uid>/cancel/", views.cancel, name="cancel"),
]
