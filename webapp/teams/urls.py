"""Addresses of teams. The longer ones stand below ``/t/<team>/``."""

from django.urls import path

from . import account_views, views

app_name = "teams"
urlpatterns = [
    path("teams/new/", views.new, name="new"),
    path("invitations/<str:token>/", views.invitation, name="invitation"),
    path("t/<slug:team>/", views.home, name="home"),
    path("t/<slug:team>/search/", account_views.search, name="search"),
    path("t/<slug:team>/checklist/", views.hide_checklist, name="checklist"),
    path("t/<slug:team>/sample/", views.add_sample, name="sample"),
    path("t/<slug:team>/members/", views.members, name="members"),
    path("t/<slug:team>/members/<int:membership>/role/", views.change_role, name="role"),
    path("t/<slug:team>/members/<int:membership>/remove/", views.remove, name="remove"),
    path("t/<slug:team>/invitations/<int:invitation>/revoke/", views.revoke, name="revoke"),
    path("t/<slug:team>/settings/", views.settings, name="settings"),
    path("t/<slug:team>/audit/", views.audit, name="audit"),
    path("t/<slug:team>/audit.csv", views.audit_csv, name="audit_csv"),
]
