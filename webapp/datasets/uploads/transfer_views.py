"""Views of resumable uploads: tus 1.0.0 with the extensions creation and termination.

https://tus.io/protocols/resumable-upload
"""

from __future__ import annotations

import base64
import binascii

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from webapp.core.input_checks import GREATEST, parse_whole_number
from webapp.datasets.content.problems import FileError
from webapp.datasets.forms import TransferForm
from webapp.datasets.models import Transfer
from webapp.datasets.services import get_target
from webapp.datasets.uploads import row_progress, services, transfers
from webapp.teams.access import Access, member
from webapp.teams.models import Role

PROTOCOL = {"Tus-Resumable": "1.0.0", "Cache-Control": "no-store"}
PART_TYPE = "application/offset+octet-stream"


def _respond(status: int, text: str = "", **headers: str) -> HttpResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(text, status=status, content_type="text/plain", headers=PROTOCOL | named)


def _parse_metadata(header: str) -> dict[str, str]:
    """Parse ``name base64,name base64``. Raises ValueError."""
    pairs = (pair.strip().partition(" ") for pair in header.split(",") if pair.strip())
    fields = {name: base64.b64decode(value, validate=True).decode() for name, _, value in pairs}
    if any("\0" in text for text in fields.values()):
        raise ValueError("a field contains NUL, which cannot be stored")
    return fields


@member(Role.EDITOR)
@require_POST
def create(request: HttpRequest, access: Access) -> HttpResponse:
    """Begin a file of ``Upload-Length`` bytes. ``Upload-Metadata`` holds the fields of the form."""
    try:
        size = parse_whole_number(request.headers.get("Upload-Length"), GREATEST)
        fields = _parse_metadata(request.headers.get("Upload-Metadata", ""))
    except (ValueError, binascii.Error):
        fields, size = {}, None
    if size is None:
        return _respond(400, "Upload-Length or Upload-Metadata cannot be read.")
    dataset = get_target(access, fields.get("dataset"))
    form = TransferForm(fields | {"size": size})
    if not form.is_valid():
        wrong = (f"{form[field].label}: {errors[0]}" for field, errors in form.errors.items())
        return _respond(422, " ".join(wrong))
    name = dataset.name if dataset else form.get_dataset_name()
    try:
        transfer = transfers.begin_transfer(
            access.team,
            access.user,
            filename=form.cleaned_data["filename"],
            size=size,
            name=name,
            options=form.build_options(),
            dataset=dataset,
        )
    except FileError as error:
        return _respond(413, f"{error.reason} {error.remedy}")
    return _respond(201, Location=reverse("datasets:transfer", args=[access.team.slug, transfer.uid]))


def _get_own(access: Access, uid: str) -> Transfer:
    return access.get(Transfer.objects.filter(created_by=access.user), uid=uid)


@member(Role.EDITOR)
def transfer(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """``HEAD``: bytes received so far. ``PATCH``: the next part. ``DELETE``: discard the file."""
    found = _get_own(access, uid)
    if request.method == "HEAD":
        return _respond(200, Upload_Offset=str(found.received), Upload_Length=str(found.bytes))
    if request.method == "PATCH":
        return _add_part(request, found)
    if request.method == "DELETE":
        transfers.discard_transfer(found)
        return _respond(204)
    return _respond(405, Allow="HEAD, PATCH, DELETE")


def _add_part(request: HttpRequest, found: Transfer) -> HttpResponse:
    offset = parse_whole_number(request.headers.get("Upload-Offset"), GREATEST)
    if request.content_type != PART_TYPE or offset is None:
        return _respond(415, f"Send a part as {PART_TYPE}, with its Upload-Offset.")
    try:
        found = transfers.add_part(found, offset, request.read(transfers.PART_BYTES + 1))
    except transfers.WrongOffset as error:
        return _respond(409, str(error), Upload_Offset=str(error.received))
    except transfers.PartTooLarge as error:
        return _respond(413, str(error))
    return _respond(204, Upload_Offset=str(found.received))


@member(Role.EDITOR)
@require_GET
def progress(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Return the progress as text while ``finish`` runs. The page may ask once more after its end."""
    if transfers.has_finished(uid, access.user):
        return _respond(204)
    return _respond(200, row_progress.read_progress(_get_own(access, uid)))


@member(Role.EDITOR)
@require_POST
def finish(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Check the complete file and show the report."""
    found = _get_own(access, uid)
    try:
        return redirect(transfers.finish_transfer(found, access.user))
    except services.CannotCommit as error:
        messages.error(request, str(error))
        return redirect("datasets:new", access.team.slug)


@member(Role.EDITOR)
@require_POST
def forget(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Discard an unfinished file."""
    found = _get_own(access, uid)
    transfers.discard_transfer(found)
    messages.success(request, f"The unfinished upload of {found.filename} was discarded.")
    return redirect("datasets:new", access.team.slug)
