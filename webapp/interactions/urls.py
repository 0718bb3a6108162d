"""URLs of interactions, below ``/t/<team>/interactions/``."""

from django.urls import path

from webapp.interactions import views

app_name = "interactions"
urlpatterns = [
    path("", views.list_interactions, name="list"),
    path("rules/", views.edit_rules, name="rules"),
    path("dataset/", views.make_dataset, name="make_dataset"),
    path("<str:uid>/", views.detail, name="detail"),
    path("<str:uid>/thumb/", views.vote, name="vote"),
    path("<str:uid>/correct/", views.correct, name="correct"),
    path("<str:uid>/delete/", views.delete, name="delete"),
    path("<str:uid>/erase/", views.erase, name="erase"),
]
