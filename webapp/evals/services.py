"""Create, change and delete evals; create, cancel and delete their runs."""

from __future__ import annotations

from django.db import transaction
from pydantic import JsonValue

from webapp.core.api.errors import ApiError, NotFound
from webapp.evals.criteria import parse_criteria
from webapp.evals.data_sources import DataSource, check_source, describe_source
from webapp.evals.models import Eval, EvalRun
from webapp.evals.queues import EVAL_RUNS
from webapp.evals.rows import read_rows
from webapp.keys.authentication import KeyAccess
from webapp.teams.models import Team, User
from webapp.teams.services import record_event
from workers.contract.json_types import JsonObject


@transaction.atomic
def create_eval(
    team: Team,
    user: User | None,
    *,
    item_schema: dict[str, JsonValue],
    include_sample_schema: bool,
    criteria: list[dict[str, JsonValue]],
    source: Eval.Source = Eval.Source.CUSTOM,
    filters: dict[str, str] | None = None,
    name: str = "",
    metadata: dict[str, str] | None = None,
) -> Eval:
    """Create an eval. Raises ApiError with the path of a wrong criterion."""
    found = Eval.objects.create(
        team=team,
        created_by=user,
        name=name,
        source=source,
        filters=filters or {},
        item_schema=item_schema,
        include_sample_schema=include_sample_schema,
        criteria=parse_criteria(team, criteria),
        metadata=metadata or {},
    )
    record_event(team, user, "created eval", found)
    return found


@transaction.atomic
def update_eval(found: Eval, user: User | None, changes: JsonObject) -> None:
    """Change the name and metadata that ``changes`` hold."""
    for name, value in changes.items():
        setattr(found, name, value)
    found.save(update_fields=list(changes))
    record_event(found.team, user, "changed eval", found)


@transaction.atomic
def delete_eval(found: Eval, user: User | None) -> None:
    """Delete an eval with its runs. A worker that grades one stops."""
    record_event(found.team, user, "deleted eval", found)
    found.delete()


def find_eval(team: Team, uid: str) -> Eval:
    """Return the team's eval. Raises NotFound."""
    found = Eval.objects.filter(team=team, uid=uid).select_related("team").first()
    if found is None:
        raise NotFound(f"No eval has the id {uid!r}.", param="eval_id")
    return found


def find_run(team: Team, eval_uid: str, uid: str) -> EvalRun:
    """Return the run of the team's eval. Raises NotFound."""
    runs = EvalRun.objects.filter(team=team, eval__uid=eval_uid, uid=uid).select_related("eval", "team")
    found = runs.first()
    if found is None:
        raise NotFound(f"The eval {eval_uid!r} has no run {uid!r}.", param="run_id")
    return found


@transaction.atomic
def create_run(
    found: Eval,
    access: KeyAccess,
    asked: DataSource,
    *,
    name: str = "",
    metadata: dict[str, str] | None = None,
) -> EvalRun:
    """Queue a run. Raises ApiError with the path of a wrong field, or the first wrong row."""
    check_source(found.team, asked)
    rows: list[JsonObject] = read_rows(found, asked)
    run = EvalRun.objects.create(
        team=found.team,
        eval=found,
        created_by=access.user,
        key=access.key,
        name=name,
        model=(asked.model or "") if asked.asks_model else "",
        data_source=describe_source(asked),
        rows=rows,
        metadata=metadata or {},
    )
    record_event(found.team, access.user, "started eval run", run)
    EVAL_RUNS.notify(run.pk)
    return run


@transaction.atomic
def cancel_run(run: EvalRun, user: User | None) -> None:
    """Cancel a run; what was graded stays. Raises ApiError if it has ended."""
    if not EVAL_RUNS.cancel(run):
        raise ApiError(f"The run has ended: it is {run.status}.", code="invalid_run_state")
    record_event(run.team, user, "canceled eval run", run)
    run.refresh_from_db()


@transaction.atomic
def delete_run(run: EvalRun, user: User | None) -> None:
    """Delete a run with its output items. A worker that grades it stops."""
    record_event(run.team, user, "deleted eval run", run)
    run.delete()
