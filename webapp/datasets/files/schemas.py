"""The objects of Files and Uploads as the API writes and reads them."""

from __future__ import annotations

from typing import Annotated, Literal

from ninja import Schema
from pydantic import Field

from webapp.datasets.files.models import ApiFile, ApiPart, ApiUpload
from workers.contract.json_types import JsonObject

SentPurpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
Lifetime = Annotated[int, Field(ge=3600, le=2_592_000)]  # seconds


class FileObject(Schema):
    """A file. Times are Unix seconds."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["uploaded", "processed", "error"]
    status_details: str | None


class Deletion(Schema):
    """The answer to a deletion."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class ExpiresAfter(Schema):
    """When a file expires: this many seconds after it was made."""

    anchor: Literal["created_at"]
    seconds: Lifetime


class NewFile(Schema):
    """The fields of a form beside the file itself."""

    purpose: SentPurpose
    anchor: Annotated[Literal["created_at"] | None, Field(alias="expires_after[anchor]")] = None
    seconds: Annotated[Lifetime | None, Field(alias="expires_after[seconds]")] = None


class NewUpload(Schema):
    """A file that will arrive in parts."""

    bytes: Annotated[int, Field(ge=1)]
    filename: Annotated[str, Field(min_length=1, max_length=255)]
    mime_type: Annotated[str, Field(max_length=255)]
    purpose: SentPurpose
    expires_after: ExpiresAfter | None = None


class Completion(Schema):
    """The parts in the order of the content, and optionally the MD5 of the whole."""

    part_ids: Annotated[list[str], Field(min_length=1)]
    md5: str | None = None


class UploadObject(Schema):
    """An upload, with its file once it is completed."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: FileObject | None


class PartObject(Schema):
    """A part of an upload."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


def describe_file(file: ApiFile) -> JsonObject:
    """Return a ``FileObject``."""
    return {
        "id": file.uid,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at.timestamp()),
        "expires_at": int(file.expires_at.timestamp()) if file.expires_at else None,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": file.status,
        "status_details": file.status_details or None,
    }


def describe_upload(upload: ApiUpload) -> JsonObject:
    """Return an ``UploadObject``."""
    return {
        "id": upload.uid,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": int(upload.created_at.timestamp()),
        "expires_at": int(upload.expires_at.timestamp()),
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": upload.status,
        "file": describe_file(upload.file) if upload.file else None,
    }


def describe_part(part: ApiPart) -> JsonObject:
    """Return a ``PartObject``."""
    return {
        "id": part.uid,
        "object": "upload.part",
        "created_at": int(part.created_at.timestamp()),
        "upload_id": part.upload.uid,
    }
