"""URLs of serving, below ``/t/<team>/usage/``."""

from django.urls import path

from webapp.serving import views

app_name = "serving"
urlpatterns = [
    path("", views.usage, name="usage"),
    path("servers/<str:base>/stop/", views.stop, name="stop"),
    path("servers/<str:base>/warm/", views.warm, name="warm"),
]
