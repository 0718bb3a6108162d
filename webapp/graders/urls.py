"""URLs of graders, below ``/t/<team>/graders/``."""

from django.urls import path

from webapp.graders import bench, removal_views, views
from webapp.graders.checks import known_answer_views
from webapp.graders.trials import trial_views

app_name = "graders"
urlpatterns = [
    path("", views.grader_list, name="list"),
    path("new/", views.new, name="new"),
    path("import/", views.import_grader, name="import"),
    path("lint/", views.lint, name="lint"),
    path("deleted/", removal_views.deleted, name="deleted"),
    path("try/", trial_views.try_grader, name="try"),
    path("fields/", trial_views.fields, name="fields"),
    path("trials/<str:uid>/", trial_views.trial, name="trial"),
    path("<str:uid>/", bench.detail, name="detail"),
    path("<str:uid>/describe/", views.describe, name="describe"),
    path("<str:uid>/delete/", removal_views.delete, name="delete"),
    path("<str:uid>/restore/", removal_views.restore, name="restore"),
    path("<str:uid>/checking/", known_answer_views.checking, name="checking"),
    path("<str:uid>/keep/", known_answer_views.keep, name="keep"),
    path("<str:uid>/known/", known_answer_views.add_known, name="add_known"),
    path("<str:uid>/known/<str:test>/delete/", known_answer_views.delete_test, name="delete_test"),
    path("<str:uid>/v<int:number>/", views.version, name="version"),
    path("<str:uid>/v<int:number>/check/", views.check, name="check"),
    path("<str:uid>/v<int:number>/grader.json", views.export, name="export"),
]
