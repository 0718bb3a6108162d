"""URLs of experiments, below ``/t/<team>/jobs/``."""

from django.urls import path

from webapp.experiments import comparison, control_run_views, interference_views

app_name = "experiments"
urlpatterns = [
    path("compare/", comparison.page, name="compare"),
    path("<str:uid>/interference/", interference_views.page, name="interference"),
    path("<str:uid>/arms/", control_run_views.page, name="control_runs"),
]
