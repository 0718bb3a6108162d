"""URLs of a team's webhooks, below ``/t/<team>/webhooks/``."""

from django.urls import path

from webapp.webhooks import views

app_name = "webhooks"
urlpatterns = [
    path("", views.list_endpoints, name="list"),
    path("new/", views.new, name="new"),
    path("<str:uid>/", views.show_endpoint, name="detail"),
    path("<str:uid>/delete/", views.delete, name="delete"),
    path("<str:uid>/secret/", views.rotate_secret, name="rotate"),
    path("<str:uid>/test/", views.send_test, name="test"),
    path("deliveries/<str:uid>/replay/", views.replay, name="replay"),
]
