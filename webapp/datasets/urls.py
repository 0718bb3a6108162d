from django.urls import path

from webapp.datasets import views
from webapp.datasets.uploads import import_views, transfer_views
from webapp.datasets.versions import version_views

app_name = "datasets"
urlpatterns = [
    path("", views.index, name="list"),
    path("new/", views.new, name="new"),
    path("transfers/", transfer_views.create, name="transfers"),
    path("transfers/<str:uid>/", transfer_views.transfer, name="transfer"),
    path("transfers/<str:uid>/finish/", transfer_views.finish, name="finish"),
    path("transfers/<str:uid>/progress/", transfer_views.progress, name="transfer_progress"),
    path("transfers/<str:uid>/forget/", transfer_views.forget, name="forget"),
    path("imports/", import_views.create, name="imports"),
    path("imports/<str:uid>/", import_views.show, name="import"),
    path("imports/<str:uid>/cancel/", import_views.cancel, name="cancel_import"),
    path("uploads/<str:uid>/", views.show_upload, name="upload"),
    path("uploads/<str:uid>/errors/", views.errors, name="errors"),
    path("uploads/<str:uid>/progress/", views.progress, name="upload_progress"),
    path("uploads/<str:uid>/discard/", views.discard, name="discard"),
    path("<str:uid>/", views.detail, name="detail"),
    path("<str:uid>/rename/", views.rename, name="rename"),
    path("<str:uid>/delete/", views.delete, name="delete"),
    path("<str:uid>/restore/", views.restore, name="restore"),
    path("<str:uid>/v<int:number>/", version_views.version, name="version"),
    path("<str:uid>/v<int:number>/rows/<str:row_id>/", version_views.row, name="row"),
    path("<str:uid>/v<int:number>/since/v<int:since>/", version_views.changes, name="changes"),
    path("<str:uid>/v<int:number>/open-test/", version_views.open_test, name="open_test"),
    path("<str:uid>/v<int:number>/download/", version_views.download, name="download"),
]
