"""Make a dataset of interactions, by the service that every upload goes through."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings
from django.core.files import File
from django.db import transaction
from django.db.models import QuerySet

from webapp.datasets.models import DatasetVersion
from webapp.datasets.services import NAME_LENGTH
from webapp.datasets.uploads.services import (
    CannotCommit,
    Choices,
    commit_upload,
    discard_upload,
    receive_file,
)
from webapp.datasets.uploads.validation import Options
from webapp.interactions.feedback import find_references
from webapp.interactions.models import DatasetCopy, Interaction, Split
from webapp.interactions.services import select_trainable
from webapp.teams.models import Team, User
from webapp.teams.services import record_event

MOST_ROWS = 10_000


@dataclass(frozen=True)
class NewDataset:
    """A version made of interactions; ``left_out`` may not train, ``unusable`` are no rows."""

    version: DatasetVersion
    left_out: int
    unusable: int


def make_dataset(team: Team, user: User, name: str, interactions: QuerySet[Interaction]) -> NewDataset:
    """Copy the newest interactions that may train into a new dataset.

    A row's ``reference`` is the latest correction, if there is one. Raises CannotCommit.
    """
    if not 0 < len(name) <= NAME_LENGTH:
        raise CannotCommit(f"Give the dataset a name of 1 to {NAME_LENGTH} characters.")
    chosen = select_trainable(interactions).order_by("-pk")[:MOST_ROWS]
    copied = list(Interaction.objects.filter(pk__in=chosen.values("pk")).order_by("pk"))
    if not copied:
        raise CannotCommit(
            "None of these interactions may train: that needs consent, and the adapter that was asked. "
            "See the rules of interactions."
        )
    version, unusable = _commit(team, user, name, copied)
    _record_copies(team, user, version, copied)
    return NewDataset(version, interactions.count() - len(copied), unusable)


def _commit(team: Team, user: User, name: str, copied: list[Interaction]) -> tuple[DatasetVersion, int]:
    with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as whole:
        for row in build_rows(copied):
            whole.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        whole.flush()
        whole.seek(0)
        upload = receive_file(team, user, name, File(whole, name="interactions.jsonl"), Options())
    try:
        return commit_upload(upload, user, Choices(skip_bad=True))[0], upload.report["bad"]
    except CannotCommit:
        discard_upload(upload, user)
        raise


def build_rows(interactions: list[Interaction]) -> Iterator[dict[str, object]]:
    """Yield a dataset row for each interaction."""
    references = find_references(Interaction.objects.filter(pk__in=[each.pk for each in interactions]))
    for each in interactions:
        row: dict[str, object] = {"messages": each.messages, "interaction": each.uid}
        if each.pk in references:
            row["reference"] = references[each.pk]
        if tools := each.params.get("tools"):
            row["tools"] = tools
        yield row


@transaction.atomic
def _record_copies(team: Team, user: User, version: DatasetVersion, copied: list[Interaction]) -> None:
    """Remember where text went, and that its prompts are no longer fresh."""
    DatasetCopy.objects.bulk_create(
        DatasetCopy(
            team=team, version=version, interaction_uid=each.uid, subject_hash=each.subject_hash,
            prompt_digest=each.prompt_digest,
        )
        for each in copied
    )  # fmt: skip
    digests = {each.prompt_digest for each in copied}
    fresh = Interaction.objects.filter(team=team, split=Split.FRESH, prompt_digest__in=digests)
    fresh.update(split=Split.SEEN)
    record_event(team, user, "made dataset of interactions", version)
