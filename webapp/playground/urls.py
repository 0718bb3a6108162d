"""URLs of the playground, below ``/t/<team>/playground/``."""

from django.urls import path

from webapp.playground import grading_views, views

app_name = "playground"
urlpatterns = [
    path("", views.show_playground, name="page"),
    path("complete/", views.complete, name="complete"),
    path("grade/", grading_views.grade, name="grade"),
    path("verdicts/<str:uid>/", grading_views.show_verdict, name="verdict"),
]
