"""``/v1/evals``: evals, their runs, and the output items of runs."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from django.db.models import Q
from ninja import Router

from webapp.core.api.errors import ApiError, NotFound
from webapp.core.api.lists import ListPage, Order, list_page, parse_limit
from webapp.evals import services
from webapp.evals.api.objects import describe_eval, describe_item, describe_run
from webapp.evals.api.schemas import (
    DataSourceConfig,
    DeletedEval,
    DeletedRun,
    EvalChanges,
    EvalObject,
    EvalRunObject,
    NewEval,
    NewRun,
    OutputItemObject,
)
from webapp.evals.models import STATUS, Eval, EvalRun, OutputItem
from webapp.evals.stored import ITEM_SCHEMA
from webapp.keys.authentication import READ, WRITE, ApiRequest
from webapp.keys.models import Scope
from workers.contract.json_types import JsonObject

router = Router(tags=["Evals"])
Status = Literal["queued", "in_progress", "completed", "canceled", "failed"]


@router.post("", auth=WRITE, response={201: EvalObject})
def create_eval(request: ApiRequest, body: NewEval) -> Any:
    """Create an eval: the form of its rows, and the graders of its criteria."""
    access = request.auth
    found = services.create_eval(
        access.team,
        access.user,
        criteria=body.testing_criteria,
        name=body.name or "",
        metadata=body.metadata,
        **_read_config(body.data_source_config),
    )
    return 201, describe_eval(found)


def _read_config(config: DataSourceConfig) -> dict[str, Any]:
    """Return the fields of the eval that describe its rows. Raises ApiError."""
    if config.type not in Eval.Source.values:
        message = f"Groove does not support the data source {config.type!r}. Use 'custom' or 'logs'."
        raise ApiError(message, param="data_source_config.type", code="invalid_value")
    source = Eval.Source(config.type)
    if source != Eval.Source.CUSTOM:
        schema = {"item_schema": ITEM_SCHEMA, "include_sample_schema": True}
        return {"source": source, "filters": config.metadata, **schema}
    if config.item_schema is None:
        param = "data_source_config.item_schema"
        raise ApiError(
            f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
        )
    return {"item_schema": config.item_schema, "include_sample_schema": config.include_sample_schema}


@router.get("", auth=READ, response=ListPage)
def list_evals(
    request: ApiRequest, after: str | None = None, limit: str | None = None, order: Order = "asc"
) -> ListPage:
    """List the team's evals in the order of their creation."""
    found = Eval.objects.filter(team=request.auth.team)
    return list_page(found, describe_eval, after=after, limit=parse_limit(limit, 20), order=order)


@router.get("/{eval_id}", auth=READ, response=EvalObject)
def retrieve_eval(request: ApiRequest, eval_id: str) -> JsonObject:
    """Retrieve an eval."""
    return describe_eval(services.find_eval(request.auth.team, eval_id))


@router.post("/{eval_id}", auth=WRITE, response=EvalObject)
def update_eval(request: ApiRequest, eval_id: str, body: EvalChanges) -> JsonObject:
    """Change the name or the metadata."""
    found = services.find_eval(request.auth.team, eval_id)
    empty: JsonObject = {"name": "", "metadata": {}}
    changes = {name: getattr(body, name) or empty[name] for name in body.model_fields_set}
    services.update_eval(found, request.auth.user, changes)
    return describe_eval(found)


@router.delete("/{eval_id}", auth=WRITE, response=DeletedEval)
def delete_eval(request: ApiRequest, eval_id: str) -> DeletedEval:
    """Delete an eval with its runs."""
    services.delete_eval(services.find_eval(request.auth.team, eval_id), request.auth.user)
    return DeletedEval(eval_id=eval_id)


# --- runs ------------------------------------------------------------------------------------------


@router.post("/{eval_id}/runs", auth=WRITE, response={201: EvalRunObject})
def create_run(request: ApiRequest, eval_id: str, body: NewRun) -> Any:
    """Queue a run. If a model gives the samples, the key also needs the scope inference."""
    access = request.auth
    found = services.find_eval(access.team, eval_id)
    if body.data_source.asks_model and Scope.INFERENCE not in access.key.scopes:
        raise ApiError("This key lacks the scope 'inference'. Create a key that has it.", status=403)
    run = services.create_run(found, access, body.data_source, name=body.name or "", metadata=body.metadata)
    return 201, describe_run(request, run)


@router.get("/{eval_id}/runs", auth=READ, response=ListPage)
def list_runs(
    request: ApiRequest,
    eval_id: str,
    after: str | None = None,
    limit: str | None = None,
    order: Order = "asc",
    status: Status | None = None,
) -> ListPage:
    """List the runs of an eval in the order of their creation."""
    found = services.find_eval(request.auth.team, eval_id)
    runs = found.runs.select_related("eval", "team").defer("rows").filter(_match_status(status))
    describe = partial(describe_run, request, with_rows=False)
    return list_page(runs, describe, after=after, limit=parse_limit(limit, 20), order=order)


def _match_status(status: Status | None) -> Q:
    if status is None:
        return Q()
    if status == "canceled":
        return Q(canceled_at__isnull=False)
    states = [state for state, name in STATUS.items() if name == status]
    return Q(state__in=states, canceled_at=None)


@router.get("/{eval_id}/runs/{run_id}", auth=READ, response=EvalRunObject)
def retrieve_run(request: ApiRequest, eval_id: str, run_id: str) -> JsonObject:
    """Retrieve a run with its counts so far."""
    return describe_run(request, services.find_run(request.auth.team, eval_id, run_id))


@router.post(  # by SDKs 1.x
    "/{eval_id}/runs/{run_id}", auth=WRITE, response=EvalRunObject, operation_id="cancel_run_by_its_path"
)
@router.post("/{eval_id}/runs/{run_id}/cancel", auth=WRITE, response=EvalRunObject)
def cancel_run(request: ApiRequest, eval_id: str, run_id: str) -> JsonObject:
    """Cancel a run that has not ended. What was graded stays."""
    run = services.find_run(request.auth.team, eval_id, run_id)
    services.cancel_run(run, request.auth.user)
    return describe_run(request, run)


@router.delete("/{eval_id}/runs/{run_id}", auth=WRITE, response=DeletedRun)
def delete_run(request: ApiRequest, eval_id: str, run_id: str) -> DeletedRun:
    """Delete a run with its output items."""
    services.delete_run(services.find_run(request.auth.team, eval_id, run_id), request.auth.user)
    return DeletedRun(run_id=run_id)


# --- output items ----------------------------------------------------------------------------------


@router.get("/{eval_id}/runs/{run_id}/output_items", auth=READ, response=ListPage)
def list_output_items(
    request: ApiRequest,
    eval_id: str,
    run_id: str,
    after: str | None = None,
    limit: str | None = None,
    order: Order = "asc",
    status: Literal["pass", "fail"] | None = None,
) -> ListPage:
    """List the graded rows of a run, also only those that passed or failed."""
    items = _select_items(services.find_run(request.auth.team, eval_id, run_id))
    if status:
        items = items.filter(status=status)
    return list_page(items, describe_item, after=after, limit=parse_limit(limit, 20), order=order)


@router.get("/{eval_id}/runs/{run_id}/output_items/{output_item_id}", auth=READ, response=OutputItemObject)
def retrieve_output_item(request: ApiRequest, eval_id: str, run_id: str, output_item_id: str) -> JsonObject:
    """Retrieve a graded row."""
    run = services.find_run(request.auth.team, eval_id, run_id)
    item = _select_items(run).filter(uid=output_item_id).first()
    if item is None:
        raise NotFound(f"The run has no output item {output_item_id!r}.", param="output_item_id")
    return describe_item(item)


def _select_items(run: EvalRun) -> Any:
    return OutputItem.objects.filter(run=run).select_related("run__eval")
