"""Objects of a team for the walks through the API: their ids by path and by field."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.files.base import ContentFile

from tests.web.deployments import targets
from tests.web.interactions.records import keep
from webapp.datasets.files import uploads
from webapp.datasets.files.services import create_file
from webapp.deployments.services import deploy
from webapp.environments.models import Environment
from webapp.evals.models import EvalRun
from webapp.jobs.models import CheckpointPermission, Job
from webapp.teams.models import Team, User
from webapp.webhooks import services as webhooks

Ids = dict[str, str]
ROWS = b'{"messages":[{"role":"user","content":"p"}]}\n' * 20


@dataclass(frozen=True)
class Known:
    """Ids of a team's objects: by the path that ends with the parameter, and by field of a body."""

    paths: Ids
    fields: Ids


def create_objects(team: Team, user: User) -> Known:
    """Add to the objects that ``tests.web.site.test_tenancy.objects`` made. Returns the ids.

    A noun of the API adds a line for each of its paths with an id, and for each field that takes an id.
    """
    job, target = Job.objects.filter(team=team).latest("pk"), targets.first(team)
    file = create_file(team, user, "a.jsonl", "fine-tune", ContentFile(ROWS))
    upload = uploads.create_upload(
        team, user, filename="b", purpose="batch", mime_type="text/plain", size=9, lifetime=None
    )
    part = uploads.add_part(upload, ContentFile(b"123"))
    deployment = deploy(team, user, "invoices", target)
    interaction = keep(team, user="dora")
    run = EvalRun.objects.select_related("eval").get(team=team)
    environment = Environment.objects.get(team=team)
    webhook, _ = webhooks.create_endpoint(
        team, user, name="W", url="https://127.0.0.1:9/", event_types=["fine_tuning.job.succeeded"]
    )
    (permission,) = CheckpointPermission.objects.bulk_create(
        [
            CheckpointPermission(
                team=Team.objects.create(slug="other", name="Other"), tuned_model=target.tuned_model
            )
        ]
    )
    return Known(
        paths={
            "/v1/chat/completions/{}": interaction.uid,
            "/v1/deployments/{}": deployment.name,
            "/v1/environments/{}": environment.uid,
            "/v1/evals/{}": run.eval.uid,
            "/v1/evals/{}/runs/{}": run.uid,
            "/v1/evals/{}/runs/{}/output_items/{}": run.items.get().uid,
            "/v1/files/{}": file.uid,
            "/v1/fine_tuning/checkpoints/{}": target.name,
            "/v1/fine_tuning/checkpoints/{}/permissions/{}": permission.uid,
            "/v1/fine_tuning/jobs/{}": job.uid,
            "/v1/models/{}": target.name,
            "/v1/subjects/{}": interaction.subject_hash,
            "/v1/uploads/{}": upload.uid,
            "/v1/webhook_endpoints/{}": webhook.uid,
        },
        fields={
            "completion_id": interaction.uid,
            "id": file.uid,  # of the rows of an eval run
            "inference_id": interaction.uid,
            "model": target.name,
            "part_ids": part.uid,
            "training_file": file.uid,
            "validation_file": file.uid,
        },
    )
