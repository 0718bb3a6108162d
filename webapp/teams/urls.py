"""URLs of teams, below ``/t/<team>/``, and of their invitations."""

from django.urls import path

from webapp.teams import audit_views, member_views

app_name = "teams"
urlpatterns = [
    path("invitations/<str:token>/", member_views.invitation, name="invitation"),
    path("t/<slug:team>/members/", member_views.members, name="members"),
    path("t/<slug:team>/members/<int:membership>/role/", member_views.change_role, name="role"),
    path("t/<slug:team>/members/<int:membership>/remove/", member_views.remove, name="remove"),
    path("t/<slug:team>/invitations/<int:invitation>/revoke/", member_views.revoke, name="revoke"),
    path("t/<slug:team>/audit/", audit_views.audit, name="audit"),
    path("t/<slug:team>/audit.csv", audit_views.audit_csv, name="audit_csv"),
]
