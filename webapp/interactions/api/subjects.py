"""Erasure of what is kept of a person: an extension of OpenAI's API."""

from __future__ import annotations

from typing import Literal

from ninja import Router, Schema

from webapp.core.api.errors import NotFound
from webapp.interactions import erasure
from webapp.keys.authentication import WRITE, ApiRequest

router = Router(tags=["Subjects"])


class Erased(Schema):
    """What was erased. ``dataset_versions`` still hold copies: datasets never change, delete them."""

    id: str
    object: Literal["subject.deleted"] = "subject.deleted"
    deleted: bool = True
    interactions: int
    dataset_versions: list[str]


@router.delete("/{subject_hash}", auth=WRITE, response=Erased)
def erase_subject(request: ApiRequest, subject_hash: str) -> Erased:
    """Delete every stored completion of a person, and the feedback on them."""
    access = request.auth
    if not erasure.is_known(access.team, subject_hash):
        raise NotFound(f"Nothing is kept of a person with the hash {subject_hash!r}.", param="subject_hash")
    erased = erasure.erase_subject(access.team, access.user, subject_hash)
    return Erased(
        id=subject_hash,
        interactions=erased.interactions,
        dataset_versions=[version.uid for version in erased.versions],
    )
