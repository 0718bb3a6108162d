"""Addresses of models, below ``/t/<team>/models/``."""

from django.urls import path

from webapp.registry import base_views, export_views, removal_views, views

app_name = "registry"
urlpatterns = [
    path("", views.model_list, name="list"),
    path("deleted/", removal_views.deleted, name="deleted"),
    path("bases/", base_views.bases, name="bases"),
    path("bases/<str:base>/", base_views.base_model, name="base"),
    path("bases/<str:base>/inspect/", base_views.inspect_base, name="inspect_base"),
    path("bases/<str:base>/remove/", base_views.remove, name="remove_base"),
    path("upload/", views.upload, name="upload"),
    path("<str:uid>/", views.model, name="model"),
    path("<str:uid>/describe/", views.describe, name="describe"),
    path("<str:uid>/card/", views.model_card, name="card"),
    path("<str:uid>/adapter.zip", views.archive, name="archive"),
    path("<str:uid>/exports/", export_views.exports, name="exports"),
    path("<str:uid>/exports/<slug:kind>/", export_views.request_export, name="export"),
    path("<str:uid>/exports/<slug:kind>/export.zip", export_views.download, name="export_archive"),
    path("<str:uid>/files/<path:name>", views.download, name="download"),
    path("<str:uid>/delete/", removal_views.delete, name="delete"),
    path("<str:uid>/restore/", removal_views.restore, name="restore"),
    path("<str:uid>/purge/", removal_views.purge, name="purge"),
]
