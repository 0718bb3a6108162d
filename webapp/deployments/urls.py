"""URLs of deployments, below ``/t/<team>/deployments/``."""

from django.urls import path

from webapp.deployments import views

app_name = "deployments"
urlpatterns = [
    path("", views.list_deployments, name="list"),
    path("new/", views.new, name="new"),
    path("<str:uid>/", views.detail, name="detail"),
    path("<str:uid>/promote/", views.promote, name="promote"),
    path("<str:uid>/rollback/", views.roll_back, name="roll_back"),
]
