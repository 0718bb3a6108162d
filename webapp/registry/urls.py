"""URLs of base models, below ``/t/<team>/models/bases/``."""

from django.urls import path

from webapp.registry import base_views

app_name = "registry"
urlpatterns = [
    path("", base_views.bases, name="bases"),
    path("<str:base>/", base_views.base_model, name="base"),
    path("<str:base>/inspect/", base_views.inspect_base, name="inspect_base"),
    path("<str:base>/remove/", base_views.remove, name="remove_base"),
]
