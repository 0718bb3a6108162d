"""Code that launches a job again by API: with OpenAI's SDK, and with curl."""

from __future__ import annotations

import json
import shlex
from pprint import pformat

from webapp.jobs.api.objects import describe_job
from webapp.jobs.api.schemas import JobBody
from webapp.jobs.api.settings import build_settings, count_validation_rows
from webapp.jobs.launch.service import check_settings
from webapp.jobs.models import Job
from workers.contract.json_types import JsonObject

WIDTH = 88
SDK = """import os

from openai import OpenAI

client = OpenAI(base_url={url}, api_key=os.environ["GROOVE_API_KEY"])
job = client.fine_tuning.jobs.create(
{arguments}
)
print(job.id)"""
CURL = """curl {url} \\
  -H "Authorization: Bearer $GROOVE_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d @- <<'JSON'
{body}
JSON"""


def build_request(job: Job) -> JsonObject | None:
    """Return the request that launches the same job; None if the API cannot launch it."""
    beyond = job.held_out_grader_id or job.promoted_step is not None or job.loaded_tasks
    beyond = beyond or job.dataset_version is None
    if job.method != "rft" or beyond or job.suites.exists():
        return None
    shown = describe_job(job)
    names = ("model", "training_file", "validation_file", "seed", "metadata", "method", "integrations")
    request = {name: shown[name] for name in names if shown[name] not in (None, {}, [])}
    if suffix := shown["user_provided_suffix"]:
        request["suffix"] = suffix
    if settings := _find_differences(job, request):
        request["settings"] = settings
    return request


def _find_differences(job: Job, request: JsonObject) -> JsonObject:
    """Return the settings that the job has and the request alone would not give it, by section."""
    asked = JobBody.model_validate(request)
    given = check_settings(build_settings(job.base_model, count_validation_rows(job), asked))
    ours, theirs = job.settings.model_dump(mode="json"), given.model_dump(mode="json")
    found: JsonObject = {}
    for name, section in ours.items():
        if isinstance(section, dict):
            other = theirs[name]
            changed = {key: value for key, value in section.items() if value != other[key]}
            found |= {name: changed} if changed else {}
    return found


def write_sdk_call(request: JsonObject, base_url: str) -> str:
    """Return Python code. The key comes from the environment."""
    arguments: JsonObject = {name: value for name, value in request.items() if name != "settings"}
    if "settings" in request:
        arguments["extra_body"] = {"settings": request["settings"]}
    lines = [_indent(f"{name}={_format(value, len(name))},") for name, value in arguments.items()]
    return SDK.format(url=json.dumps(base_url), arguments="\n".join(lines))


def _format(value: object, indent: int) -> str:
    """Return a value as Python code, its further lines below its first."""
    text = pformat(value, width=WIDTH - indent, sort_dicts=False)
    return text.replace("\n", "\n" + " " * (indent + 1))


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def write_curl(request: JsonObject, base_url: str) -> str:
    """Return a shell command. The key comes from the environment."""
    body = json.dumps(request, indent=2, ensure_ascii=False)
    return CURL.format(url=shlex.quote(f"{base_url}/fine_tuning/jobs"), body=body)
