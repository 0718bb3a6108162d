"""Help links: the section of the documents that explains a page."""

from __future__ import annotations

from django.http import HttpRequest
from django.urls import reverse

# View name or namespace -> document, optionally with the anchor of a section.
SECTIONS = {
    "home": "interface#pages-of-a-team",
    "teams": "interface#pages-of-a-team",
    "teams:members": "interface#pages-of-a-team",
    "keys": "api#keys",
    "datasets": "datasets",
    "datasets:new": "datasets#files",
    "datasets:upload": "datasets#from-upload-to-version",
    "datasets:version": "datasets#looking-through-a-version",
    "datasets:row": "datasets#looking-through-a-version",
    "graders": "graders",
    "graders:new": "graders-bench#definitions",
    "graders:detail": "graders-bench",
    "graders:trial": "graders-bench#trying-it",
    "graders:import": "graders#import-and-export",
    "environments": "environments#pages",
    "judges": "judges",
    "judges:label": "judge-cards#labels",
    "judges:card": "judge-cards#numbers",
    "jobs": "jobs",
    "jobs:list": "jobs#the-list",
    "jobs:deleted": "jobs#deleting-jobs",
    "jobs:bulk": "jobs#the-list",
    "jobs:new": "design#7-defaults-of-a-job",
    "jobs:workers": "jobs#leases",
    "jobs:detail": "jobs#the-page-of-a-job",
    "jobs:rollouts": "health#rules",
    "jobs:log": "jobs#the-log",
    "jobs:preflight": "preflight",
    "evals": "api#evals",
    "experiments": "jobs",
    "experiments:control_runs": "control-runs",
    "experiments:interference": "tasks#interference",
    "evaluations": "statistics",
    "evaluations:vote": "statistics#blind-votes",
    "retention": "retention",
    "deployments": "interactions#deployments",
    "interactions": "interactions",
    "playground": "serving#playground",
    "serving": "serving#usage",
    "interactions:rules": "interactions#redaction",
    "catalog": "exports",
    "catalog:upload": "tasks#uploading-an-adapter",
    "registry": "models",
    "remote_imports": "openai-import",
    "webhooks": "webhooks",
    "registry:bases": "starter-model",
}
ANYWHERE = "checklist"


def find_section(view_name: str) -> str:
    """Return the document for a view, optionally with an anchor."""
    namespace = view_name.partition(":")[0]
    return SECTIONS.get(view_name) or SECTIONS.get(namespace) or ANYWHERE


def build_help_url(request: HttpRequest) -> dict[str, str]:
    """Provide ``help_url`` of the current page to templates. A context processor."""
    match = request.resolver_match
    if match is None:
        return {"help_url": reverse("documents")}
    name, _, anchor = find_section(match.view_name).partition("#")
    return {"help_url": reverse("document", args=[name]) + (f"#{anchor}" if anchor else "")}
