"""URLs of a team's home, below ``/t/<team>/``."""

from django.urls import path

from webapp.home import settings_views, views

app_name = "home"
urlpatterns = [
    path("teams/new/", views.new_team, name="new_team"),
    path("t/<slug:team>/", views.show_overview, name="overview"),
    path("t/<slug:team>/search/", views.search, name="search"),
    path("t/<slug:team>/checklist/", views.hide_checklist, name="checklist"),
    path("t/<slug:team>/sample/", views.add_sample, name="sample"),
    path("t/<slug:team>/settings/", settings_views.show_settings, name="settings"),
]
