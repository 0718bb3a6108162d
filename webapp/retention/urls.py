"""URLs of retention, below ``/t/<team>/``."""

from django.urls import path

from webapp.retention import views

app_name = "retention"
urlpatterns = [
    path("jobs/<str:uid>/retention/", views.retention, name="page"),
    path("models/<str:uid>/release/", views.release, name="release"),
]
