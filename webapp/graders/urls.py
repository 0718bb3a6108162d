"""Addresses of graders, below ``/t/<team>/graders/``."""

from django.urls import path

from . import bench, views

app_name = "graders"
urlpatterns = [
    path("", views.grader_list, name="list"),
    path("new/", views.new, name="new"),
    path("import/", views.import_grader, name="import"),
    path("lint/", views.lint, name="lint"),
    path("try/", bench.try_grader, name="try"),
    path("trials/<str:uid>/", bench.trial, name="trial"),
    path("<str:uid>/", bench.detail, name="detail"),
    path("<str:uid>/delete/", views.delete, name="delete"),
    path("<str:uid>/restore/", views.restore, name="restore"),
    path("<str:uid>/checking/", views.checking, name="checking"),
    path("<str:uid>/keep/", bench.keep, name="keep"),
    path("<str:uid>/known/", bench.add_known, name="add_known"),
    path("<str:uid>/known/<str:test>/delete/", bench.delete_test, name="delete_test"),
    path("<str:uid>/v<int:number>/", views.version, name="version"),
    path("<str:uid>/v<int:number>/check/", views.check, name="check"),
    path("<str:uid>/v<int:number>/grader.json", views.export, name="export"),
]
