"""Evals, runs and output items as OpenAI's API shows them."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from webapp.evals.models import CriterionCounts, Eval, EvalRun, OutputItem
from workers.contract.json_types import JsonObject


def describe_eval(found: Eval) -> dict[str, Any]:
    """Return the API's object of an eval."""
    config: dict[str, Any] = {"type": found.source, "schema": _build_schema(found)}
    if found.source != Eval.Source.CUSTOM:
        config["metadata"] = found.filters
    return {
        "id": found.uid,
        "object": "eval",
        "created_at": int(found.created_at.timestamp()),
        "name": found.name,
        "data_source_config": config,
        "testing_criteria": found.criteria,
        "metadata": found.metadata,
    }


def _build_schema(found: Eval) -> JsonObject:
    """Return the JSON schema of a whole row."""
    properties: dict[str, Any] = {"item": found.item_schema}
    required = ["item"]
    if found.include_sample_schema:
        text = {"type": "object", "properties": {"output_text": {"type": "string"}}}
        properties["sample"] = text | {"required": ["output_text"]}
        required.append("sample")
    return {"type": "object", "properties": properties, "required": required}  # type: ignore[dict-item]


def describe_run(request: HttpRequest, run: EvalRun, *, with_rows: bool = True) -> dict[str, Any]:
    """Return the API's object of a run. Lists leave out rows that its data source holds."""
    report = run.report
    counts = {name: getattr(report, name) for name in ("total", "passed", "failed", "errored")}
    return {
        "id": run.uid,
        "object": "eval.run",
        "created_at": int(run.created_at.timestamp()),
        "eval_id": run.eval.uid,
        "name": run.name,
        "model": run.model,
        "status": run.status,
        "data_source": _describe_source(run, with_rows),
        "result_counts": counts,
        "per_testing_criteria_results": [
            _describe_criterion(run, each["name"]) for each in run.eval.criteria
        ],
        "per_model_usage": [
            {"model_name": model, **usage.model_dump()} for model, usage in report.usage.items()
        ],
        "report_url": request.build_absolute_uri(run.get_absolute_url()),
        "error": _describe_error(run),
        "metadata": run.metadata,
    }


def _describe_source(run: EvalRun, with_rows: bool) -> dict[str, Any]:
    described: dict[str, Any] = run.data_source
    if described["source"]["type"] != "file_content":
        return described
    content = run.rows if with_rows else []
    return described | {"source": described["source"] | {"content": content}}


def _describe_criterion(run: EvalRun, name: str) -> dict[str, Any]:
    counts = run.report.criteria.get(name, CriterionCounts())
    return {"testing_criteria": name, **counts.model_dump()}


def _describe_error(run: EvalRun) -> dict[str, str] | None:
    if run.error is None:
        return None
    message = f"{run.error.message} {run.error.remedy}".strip()
    return {"code": run.error.code or "run_failed", "message": message}


def describe_item(item: OutputItem) -> dict[str, Any]:
    """Return the API's object of an output item."""
    return {
        "id": item.uid,
        "object": "eval.run.output_item",
        "created_at": int(item.created_at.timestamp()),
        "eval_id": item.run.eval.uid,
        "run_id": item.run.uid,
        "datasource_item_id": item.number,
        "datasource_item": item.item,
        "sample": item.sample,
        "results": item.results,
        "status": item.status,
    }
