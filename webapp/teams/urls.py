"""Addresses of teams. The longer ones stand below ``/t/<team>/``."""

from django.urls import path

from webapp.teams import account_views, member_views, settings_views, views

app_name = "teams"
urlpatterns = [
    path("teams/new/", views.new, name="new"),
    path("invitations/<str:token>/", member_views.invitation, name="invitation"),
    path("t/<slug:team>/", views.home, name="home"),
    path("t/<slug:team>/search/", account_views.search, name="search"),
    path("t/<slug:team>/checklist/", views.hide_checklist, name="checklist"),
    path("t/<slug:team>/sample/", views.add_sample, name="sample"),
    path("t/<slug:team>/members/", member_views.members, name="members"),
    path("t/<slug:team>/members/<int:membership>/role/", member_views.change_role, name="role"),
    path("t/<slug:team>/members/<int:membership>/remove/", member_views.remove, name="remove"),
    path("t/<slug:team>/invitations/<int:invitation>/revoke/", member_views.revoke, name="revoke"),
    path("t/<slug:team>/settings/", settings_views.settings, name="settings"),
    path("t/<slug:team>/audit/", settings_views.audit, name="audit"),
    path("t/<slug:team>/audit.csv", settings_views.audit_csv, name="audit_csv"),
]
