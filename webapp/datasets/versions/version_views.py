"""Views of a version: rows and histograms, one row, changes between versions, downloads."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from webapp.datasets.content.rows import SPLITS, Split
from webapp.datasets.files.version_files import find_split_file, name_split
from webapp.datasets.forms import OpenTestForm
from webapp.datasets.models import DatasetVersion
from webapp.datasets.versions import browsing, sealing, split_files
from webapp.datasets.versions.differences import KINDS, build_page, compare_versions
from webapp.datasets.versions.row_lookup import find_row
from webapp.datasets.versions.row_search import encode_search
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from webapp.teams.services import record_event

JOBS_SHOWN = 5


def _get_version(access: Access, uid: str, number: int) -> DatasetVersion:
    versions = DatasetVersion.objects.select_related("dataset__team", "test_opened_by")
    return get_object_or_404(versions, dataset__team=access.team, dataset__uid=uid, number=number)


def _read_split(request: HttpRequest) -> Split:
    """Return the split in the query string, or train. Raises Http404 for an unknown name."""
    name = request.GET.get("split", Split.TRAIN.label)
    if name not in SPLITS:
        raise Http404(f"There is no split {name!r}.")
    return SPLITS[name]


@member()
def version(request: HttpRequest, access: Access, uid: str, number: int) -> HttpResponse:
    """Show histograms and rows of one split. Test rows appear only if their split was opened."""
    version, split = _get_version(access, uid, number), _read_split(request)
    context: dict[str, object] = {
        "version": version,
        "dataset": version.dataset,
        "split": split,
        "size": version.files[split.label]["rows"],
        "splits": [(each.label, version.files[each.label]["rows"]) for each in Split],
        "sealed": sealing.is_sealed(version, split),
        "file": find_split_file(version, split),
    }
    if split.sealed and not sealing.is_sealed(version, split):
        context["page"], context["rows"] = browsing.list_rows(version, split, request.GET)
    elif not split.sealed:
        context["found"] = found = browsing.search_rows(version, split, request.GET)
        context["page"] = found.page
        context["charts"] = browsing.build_charts(version, split, request.GET)
    return render(request, "datasets/version.html", context)


@member()
def row(request: HttpRequest, access: Access, uid: str, number: int, row_id: str) -> HttpResponse:
    """Show one row in full, and the latest jobs on its version."""
    version = _get_version(access, uid, number)
    found = find_row(version, row_id, request.GET)
    if found is None:
        raise Http404(f"{version} has no row {row_id} in its open splits.")
    context = {
        "version": version,
        "dataset": version.dataset,
        "found": found,
        "row": found.row,
        "search": encode_search(request.GET) if found.match else "",
        "jobs": version.jobs.alive().select_related("team").order_by("-id")[:JOBS_SHOWN],
    }
    return render(request, "datasets/row.html", context)


@member()
def changes(request: HttpRequest, access: Access, uid: str, number: int, since: int) -> HttpResponse:
    """Show the rows that differ between two versions."""
    newer, older = _get_version(access, uid, number), _get_version(access, uid, since)
    found = compare_versions(older, newer)
    counts = [(kind, len(getattr(found, kind))) for kind in KINDS]
    default = next((kind for kind, count in counts if count), KINDS[0])
    kind = request.GET.get("kind", default)
    if kind not in KINDS:
        raise Http404(f"The kind of change is {', '.join(KINDS)}, not {kind!r}.")
    page, shown = build_page(older, newer, found, kind, request.GET.get("page"))
    context = {
        "dataset": newer.dataset, "newer": newer, "older": older, "same": found.same,
        "counts": counts, "kind": kind, "page": page, "changes": shown,
        "shown_in": older if kind == "removed" else newer,
    }  # fmt: skip
    return render(request, "datasets/changes.html", context)


@member(Role.OWNER)
def open_test(request: HttpRequest, access: Access, uid: str, number: int) -> HttpResponse:
    """Open the test split after an owner confirmed it by the version's name."""
    found = _get_version(access, uid, number)
    target = f"{found.get_absolute_url()}?split={Split.TEST.label}"
    if not sealing.is_sealed(found, Split.TEST):
        return redirect(target)
    form = OpenTestForm(found, request.POST or None)
    if form.is_valid():
        sealing.open_test_split(found, access.user)
        messages.success(request, f"The test split of {found} is open.")
        return redirect(target)
    context = {"version": found, "dataset": found.dataset, "form": form}
    return render(request, "datasets/open_test.html", context, status=422 if form.is_bound else 200)


@member(Role.EDITOR)
def download(request: HttpRequest, access: Access, uid: str, number: int) -> HttpResponseBase:
    """Download one split as JSON Lines, as jobs read it. A sealed test split is refused."""
    found, split = _get_version(access, uid, number), _read_split(request)
    if sealing.is_sealed(found, split):
        raise PermissionDenied(
            f"The test split of {found} is sealed. An owner can open it on the version's page."
        )
    file = found.files[split.label]
    record_event(access.team, access.user, f"downloaded {split.label} rows", found)
    response = StreamingHttpResponse(split_files.stream_chunks(file["key"]), content_type="application/jsonl")
    response["Content-Length"] = file["bytes"]
    response["Content-Disposition"] = f'attachment; filename="{name_split(found, split)}"'
    return response
