"""URLs of a job's comparison, below ``/t/<team>/jobs/<uid>/compare/``."""

from django.urls import path

from webapp.evaluations import views

app_name = "evaluations"
urlpatterns = [
    path("", views.compare, name="compare"),
    path("vote/", views.vote, name="vote"),
    path("note/<int:row>/", views.note, name="note"),
    path("compare.csv", views.csv, name="csv"),
    path("compare.json", views.numbers, name="numbers"),
]
