"""Pages of a version: its rows and what they hold, one row, what changed since another version, its files."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.text import slugify

from webapp.datasets.content.rows import SPLITS, Split
from webapp.datasets.forms import OpenTestForm
from webapp.datasets.models import DatasetVersion
from webapp.datasets.versions import browsing, sealing, split_files
from webapp.datasets.versions.differences import KINDS, build_page, compare_versions
from webapp.datasets.versions.row_lookup import find_row
from webapp.datasets.versions.row_search import encode_search
from webapp.teams.access import Access, member
from webapp.teams.models import Role
from webapp.teams.services import record

JOBS_SHOWN = 5


def _version(access: Access, uid: str, number: int) -> DatasetVersion:
    versions = DatasetVersion.objects.select_related("dataset__team", "test_opened_by")
    return get_object_or_404(versions, dataset__team=access.team, dataset__uid=uid, number=number)


def _split(request: HttpRequest) -> Split:
    """The split in the query, train if none. Raises Http404 for an unknown name."""
    name = request.GET.get("split", Split.TRAIN.label)
    if name not in SPLITS:
        raise Http404(f"There is no split {name!r}.")
    return SPLITS[name]


@member()
def version(request: HttpRequest, access: Access, uid: str, number: int) -> HttpResponse:
    """A version: what its fields hold, and its rows a page at a time. Test rows only if they were opened."""
    version, split = _version(access, uid, number), _split(request)
    context = {
        "version": version,
        "dataset": version.dataset,
        "split": split,
        "size": version.files[split.label]["rows"],
        "splits": [(each.label, version.files[each.label]["rows"]) for each in Split],
        "sealed": sealing.is_sealed(version, split),
    }
    if split.sealed and not sealing.is_sealed(version, split):
        context["page"], context["rows"] = browsing.list_rows(version, split, request.GET)
    elif not split.sealed:
        context["found"] = found = browsing.search_rows(version, split, request.GET)
        context["page"] = found.page
        context["histograms"] = browsing.build_charts(version, split, request.GET)
    return render(request, "datasets/version.html", context)


@member()
def row(request: HttpRequest, access: Access, uid: str, number: int, row_id: str) -> HttpResponse:
    """One row, whole, and the jobs that know it."""
    version = _version(access, uid, number)
    place = find_row(version, row_id, request.GET)
    if place is None:
        raise Http404(f"{version} has no row {row_id} in its open splits.")
    context = {
        "version": version,
        "dataset": version.dataset,
        "place": place,
        "row": place.row,
        "search": encode_search(request.GET) if place.match else "",
        "jobs": version.jobs.filter(deleted_at=None).select_related("team").order_by("-id")[:JOBS_SHOWN],
    }
    return render(request, "datasets/row.html", context)


@member()
def changes(request: HttpRequest, access: Access, uid: str, number: int, since: int) -> HttpResponse:
    """What a version has that an earlier one had not, and the other way round."""
    newer, older = _version(access, uid, number), _version(access, uid, since)
    found = compare_versions(older, newer)
    counts = [(kind, len(getattr(found, kind))) for kind in KINDS]
    usual = next((kind for kind, count in counts if count), KINDS[0])
    kind = request.GET.get("kind", usual)
    if kind not in KINDS:
        raise Http404(f"Rows are {', '.join(KINDS)}; not {kind!r}.")
    page, shown = build_page(older, newer, found, kind, request.GET.get("page"))
    context = {
        "dataset": newer.dataset, "newer": newer, "older": older, "same": found.same,
        "counts": counts, "kind": kind, "page": page, "changes": shown,
        "shown_in": older if kind == "removed" else newer,
    }  # fmt: skip
    return render(request, "datasets/changes.html", context)


@member(Role.OWNER)
def open_test(request: HttpRequest, access: Access, uid: str, number: int) -> HttpResponse:
    """Ask an owner to confirm that the test split should be opened, and open it."""
    found = _version(access, uid, number)
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
    """One split as JSON Lines, as jobs read it. The test split must have been opened."""
    found, split = _version(access, uid, number), _split(request)
    if sealing.is_sealed(found, split):
        raise PermissionDenied(
            f"The test split of {found} is sealed. An owner can open it on the page of the version."
        )
    file = found.files[split.label]
    record(access.team, access.user, f"downloaded {split.label} rows", found)
    response = StreamingHttpResponse(split_files.stream_chunks(file["key"]), content_type="application/jsonl")
    name = f"{slugify(found.dataset.name) or 'dataset'}-v{found.number}-{split.label}.jsonl"
    response["Content-Length"] = file["bytes"]
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
