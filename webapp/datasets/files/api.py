"""``/v1/files`` and ``/v1/uploads``."""

from __future__ import annotations

from django.http import HttpResponseBase, StreamingHttpResponse
from ninja import File, Form, Router
from ninja.files import UploadedFile

from webapp.core.api.errors import ApiError
from webapp.core.api.lists import ListPage, Order, list_page, parse_limit
from webapp.core.streaming import build_attachment_headers, stream_lazily
from webapp.datasets.files import schemas, services
from webapp.datasets.files import uploads as upload_services
from webapp.datasets.files.file_content import read_chunks
from webapp.datasets.files.models import ApiFile, Purpose
from webapp.keys.authentication import READ, WRITE, ApiRequest
from webapp.teams.models import Role
from webapp.teams.services import record_event
from workers.contract.json_types import JsonObject

MOST_FILES = 10_000
BINARY = {"schema": {"type": "string", "format": "binary"}}
CONTENT = {"responses": {200: {"content": {"application/octet-stream": BINARY}}}}
files = Router(tags=["Files"])
uploads = Router(tags=["Uploads"])


@files.post("", auth=WRITE, response=schemas.FileObject)
def create_file(request: ApiRequest, file: File[UploadedFile], fields: Form[schemas.NewFile]) -> JsonObject:
    """Store a file. One for training must be JSON Lines with an object a line."""
    if (fields.anchor is None) != (fields.seconds is None):
        param = f"expires_after[{'anchor' if fields.anchor is None else 'seconds'}]"
        message = f"Missing required parameter: '{param}'."
        raise ApiError(message, param=param, code="missing_required_parameter")
    access, name = request.auth, file.name or ""
    created = services.create_file(access.team, access.user, name, fields.purpose, file, fields.seconds)
    return schemas.describe_file(created)


@files.get("", auth=READ, response=ListPage)
def list_files(
    request: ApiRequest,
    purpose: str | None = None,
    after: str | None = None,
    limit: str | None = None,
    order: Order = "desc",
) -> ListPage:
    """List the team's files, newest first."""
    found = services.select_files(request.auth.team, purpose)
    most = parse_limit(limit, MOST_FILES, MOST_FILES)
    return list_page(found, schemas.describe_file, after=after, limit=most, order=order)


@files.get("/{file_id}", auth=READ, response=schemas.FileObject)
def retrieve_file(request: ApiRequest, file_id: str) -> JsonObject:
    """Return a file's description."""
    return schemas.describe_file(_find_file(request, file_id))


@files.delete("/{file_id}", auth=WRITE, response=schemas.Deletion)
def delete_file(request: ApiRequest, file_id: str) -> JsonObject:
    """Delete a file. Jobs and datasets that were made of it stay."""
    found = _find_file(request, file_id)
    services.delete_file(found, request.auth.user)
    return {"id": found.uid, "object": "file", "deleted": True}


@files.get("/{file_id}/content", auth=READ, openapi_extra=CONTENT)
def retrieve_content(request: ApiRequest, file_id: str) -> HttpResponseBase:
    """Return a file's bytes. As on the pages, viewers see rows but do not download them."""
    access, found = request.auth, _find_file(request, file_id)
    if found.purpose != Purpose.RESULTS:
        access.require(Role.EDITOR)
        record_event(access.team, access.user, "downloaded API file", found)
    headers = build_attachment_headers(found.filename, found.bytes)
    content = stream_lazily(read_chunks(found))
    return StreamingHttpResponse(content, content_type="application/octet-stream", headers=headers)


def _find_file(request: ApiRequest, file_id: str) -> ApiFile:
    return services.find_file(request.auth.team, file_id)


@uploads.post("", auth=WRITE, response=schemas.UploadObject)
def create_upload(request: ApiRequest, upload: schemas.NewUpload) -> JsonObject:
    """Announce a large file, which then arrives in parts within an hour."""
    lifetime = upload.expires_after.seconds if upload.expires_after else None
    access = request.auth
    created = upload_services.create_upload(
        access.team,
        access.user,
        filename=upload.filename,
        purpose=upload.purpose,
        mime_type=upload.mime_type,
        size=upload.bytes,
        lifetime=lifetime,
    )
    return schemas.describe_upload(created)


@uploads.post("/{upload_id}/parts", auth=WRITE, response=schemas.PartObject)
def create_part(request: ApiRequest, upload_id: str, data: File[UploadedFile]) -> JsonObject:
    """Store a part of at most 64 MiB. Parts may arrive at once and in any order."""
    found = upload_services.find_upload(request.auth.team, upload_id)
    return schemas.describe_part(upload_services.add_part(found, data))


@uploads.post("/{upload_id}/complete", auth=WRITE, response=schemas.UploadObject)
def complete_upload(request: ApiRequest, upload_id: str, completion: schemas.Completion) -> JsonObject:
    """Make a file of the parts, in the order of ``part_ids``."""
    access = request.auth
    found = upload_services.find_upload(access.team, upload_id)
    done = upload_services.complete_upload(found, access.user, completion.part_ids, completion.md5)
    return schemas.describe_upload(done)


@uploads.post("/{upload_id}/cancel", auth=WRITE, response=schemas.UploadObject)
def cancel_upload(request: ApiRequest, upload_id: str) -> JsonObject:
    """Give up an upload."""
    found = upload_services.find_upload(request.auth.team, upload_id)
    return schemas.describe_upload(upload_services.cancel_upload(found))
