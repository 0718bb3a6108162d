"""URLs of environments, below ``/t/<team>/environments/``."""

from django.urls import path

from webapp.environments import removal_views, views
from webapp.environments.plays import views as play_views
from webapp.environments.servers import views as server_views

app_name = "environments"
urlpatterns = [
    path("", views.environment_list, name="list"),
    path("new/", views.new, name="new"),
    path("connect/", server_views.connect, name="connect"),
    path("lint/", views.lint, name="lint"),
    path("deleted/", removal_views.deleted, name="deleted"),
    path("plays/<str:uid>/", play_views.play, name="play"),
    path("<str:uid>/", views.detail, name="detail"),
    path("<str:uid>/describe/", views.describe, name="describe"),
    path("<str:uid>/delete/", removal_views.delete, name="delete"),
    path("<str:uid>/restore/", removal_views.restore, name="restore"),
    path("<str:uid>/v<int:number>/", views.version, name="version"),
    path("<str:uid>/v<int:number>/check/", views.inspect, name="inspect"),
    path("<str:uid>/v<int:number>/dataset/", views.make_dataset, name="make_dataset"),
    path("<str:uid>/v<int:number>/play/", play_views.start, name="start"),
]
