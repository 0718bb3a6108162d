"""URLs of the model catalog, below ``/t/<team>/``."""

from django.urls import path

from webapp.catalog import checkpoint_views, export_views, removal_views, views

app_name = "catalog"
urlpatterns = [
    path("models/", views.model_list, name="list"),
    path("models/deleted/", removal_views.deleted, name="deleted"),
    path("models/upload/", views.upload, name="upload"),
    path("models/<str:uid>/", views.model, name="model"),
    path("models/<str:uid>/describe/", views.describe, name="describe"),
    path("models/<str:uid>/card/", views.card, name="card"),
    path("models/<str:uid>/adapter.zip", views.archive, name="archive"),
    path("models/<str:uid>/exports/", export_views.exports, name="exports"),
    path("models/<str:uid>/exports/<slug:kind>/", export_views.request_export, name="export"),
    path("models/<str:uid>/exports/<slug:kind>/export.zip", export_views.download, name="export_archive"),
    path("models/<str:uid>/files/<path:name>", views.download, name="download"),
    path("models/<str:uid>/delete/", removal_views.delete, name="delete"),
    path("models/<str:uid>/restore/", removal_views.restore, name="restore"),
    path("models/<str:uid>/purge/", removal_views.purge, name="purge"),
    path("jobs/<str:uid>/checkpoints/<int:step>/", checkpoint_views.download, name="checkpoint"),
    path("jobs/<str:uid>/checkpoints/<int:step>/promote/", checkpoint_views.promote, name="promote"),
]
