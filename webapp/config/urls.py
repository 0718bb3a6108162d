"""All URLs of the site. A team's pages are below ``/t/<team>/``."""

from django.urls import include, path, re_path

from webapp.config import documents, views
from webapp.config.api import api
from webapp.core import input_checks
from webapp.home import styleguide
from webapp.jobs.live import notification_views
from webapp.teams import account_views

handler400 = input_checks.bad_request
handler404 = views.show_not_found
urlpatterns = [
    path("", views.show_index, name="index"),
    path("styleguide/", styleguide.show_styleguide, name="styleguide"),
    path("account/", account_views.account, name="account"),
    path("account/ended/", notification_views.ended_jobs, name="ended"),
    path("docs/", documents.list_documents, name="documents"),
    path("docs/images/<str:name>", documents.show_image, name="document_image"),
    path("docs/api/reference/", documents.show_api_reference, name="api_reference"),
    path("docs/<str:name>/", documents.show_document, name="document"),
    path("v1/", api.urls),
    re_path("^v1/", views.show_unknown_url),
    path("healthz", views.check_health, name="healthz"),
    path("accounts/email/", account_views.change_email, name="account_email"),
    path("accounts/", include("allauth.account.urls")),
    path("", include("webapp.teams.urls")),
    path("", include("webapp.home.urls")),
    path("t/<slug:team>/api-keys/", include("webapp.keys.urls")),
    path("t/<slug:team>/playground/", include("webapp.playground.urls")),
    path("t/<slug:team>/datasets/", include("webapp.datasets.urls")),
    path("t/<slug:team>/deployments/", include("webapp.deployments.urls")),
    path("t/<slug:team>/evals/", include("webapp.evals.urls")),
    path("t/<slug:team>/graders/", include("webapp.graders.urls")),
    path("t/<slug:team>/environments/", include("webapp.environments.urls")),
    path("t/<slug:team>/interactions/", include("webapp.interactions.urls")),
    path("t/<slug:team>/judges/", include("webapp.judges.urls")),
    path("t/<slug:team>/jobs/", include("webapp.experiments.urls")),
    path("t/<slug:team>/jobs/", include("webapp.jobs.urls")),
    path("t/<slug:team>/jobs/<str:uid>/compare/", include("webapp.evaluations.urls")),
    path("t/<slug:team>/", include("webapp.retention.urls")),
    path("t/<slug:team>/import/", include("webapp.remote_imports.urls")),
    path("t/<slug:team>/webhooks/", include("webapp.webhooks.urls")),
    path("t/<slug:team>/models/bases/", include("webapp.registry.urls")),
    path("t/<slug:team>/usage/", include("webapp.serving.urls")),
    path("t/<slug:team>/", include("webapp.catalog.urls")),
]
