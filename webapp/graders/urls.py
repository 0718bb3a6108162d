"""Addresses of graders, below ``/t/<team>/graders/``."""

from django.urls import path

from . import views

app_name = "graders"
urlpatterns = [
    path("", views.grader_list, name="list"),
    path("new/", views.new, name="new"),
    path("lint/", views.lint, name="lint"),
    path("try/", views.try_grader, name="try"),
    path("trials/<str:uid>/", views.trial, name="trial"),
    path("<str:uid>/", views.detail, name="detail"),
    path("<str:uid>/delete/", views.delete, name="delete"),
    path("<str:uid>/restore/", views.restore, name="restore"),
    path("<str:uid>/v<int:number>/", views.version, name="version"),
    path("<str:uid>/v<int:number>/grader.json", views.export, name="export"),
]
