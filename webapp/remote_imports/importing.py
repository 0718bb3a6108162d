"""Takes over files as datasets, and jobs as a dataset, a grader and settings for a new job."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath

from django.conf import settings
from django.core.files import File
from pydantic import ValidationError

from webapp.core.api.errors import ApiError
from webapp.datasets.files.models import ApiFile, Purpose
from webapp.datasets.files.services import build_version, create_file
from webapp.endpoints.services import list_missing_judges
from webapp.graders.definitions.parsing import TextInvalid, read_json
from webapp.graders.services import find_or_create_version
from webapp.jobs.api.schemas import Hyperparameters
from webapp.jobs.api.settings import map_hyperparameters
from webapp.registry.models import BaseModel
from webapp.registry.services import find_base
from webapp.remote_imports.client import Remote, RemoteError, read_method, read_text
from webapp.remote_imports.models import ImportedItem
from webapp.teams.models import Team, User
from workers.contract.json_types import JsonObject
from workers.contract.spec import MAX_SEED

MULTIPLIERS = ("learning_rate_multiplier", "compute_multiplier")
STAYS = "Its events, metrics, checkpoints and result files stay at the service."


@dataclass
class Importer:
    """Imports items of one account into a team. A file that several items name is downloaded once."""

    team: Team
    user: User
    remote: Remote
    _files: dict[str, ApiFile] = field(default_factory=dict)

    def import_file(self, file_id: str) -> ImportedItem:
        """Make a dataset of a file."""
        item = ImportedItem(kind="file", remote_id=file_id)
        try:
            file = self._fetch_file(file_id)
            item.name = file.filename
            item.dataset = build_version(self.team, self.user, file, None, _name_dataset(file)).uid
        except (RemoteError, ApiError) as error:
            item.problem = str(error)
        return item

    def import_job(self, job_id: str) -> ImportedItem:
        """Make a dataset, a grader and settings of a job. Its notes say what was not carried over."""
        item = ImportedItem(kind="job", remote_id=job_id)
        try:
            job = self.remote.fetch_job(job_id)
        except RemoteError as error:
            item.problem = str(error)
            return item
        item.name = read_text(job.get("user_provided_suffix")) or job_id
        self._import_rows(job, item)
        self._import_grader(job, item)
        self._import_settings(job, item)
        item.notes += list_left_behind(job)
        return item

    def _fetch_file(self, file_id: str) -> ApiFile:
        """Store a copy of the service's file. Raises RemoteError and ApiError."""
        if file_id not in self._files:
            known = self.remote.fetch_file(file_id)
            with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as content:
                self.remote.download(file_id, content)
                content.seek(0)
                name = known.name or file_id
                self._files[file_id] = create_file(
                    self.team, self.user, name, Purpose.FINE_TUNE, File(content, name)
                )
        return self._files[file_id]

    def _import_rows(self, job: JsonObject, item: ImportedItem) -> None:
        """Make a dataset of the job's files: without its validation file if only that fails."""
        try:
            training = self._fetch_file(read_text(job.get("training_file")))
        except (RemoteError, ApiError) as error:
            item.notes.append(f"Training file: {error}")
            return
        validation = None
        if name := read_text(job.get("validation_file")):
            try:
                validation = self._fetch_file(name)
            except (RemoteError, ApiError) as error:
                item.notes.append(f"Validation file: {error} Some training rows are held out instead.")
        try:
            version = build_version(self.team, self.user, training, validation, _name_dataset(training))
        except ApiError as error:
            file = "Validation file" if error.param == "validation_file" else "Training file"
            item.notes.append(f"{file}: {error}")
        else:
            item.dataset = version.uid

    def _import_grader(self, job: JsonObject, item: ImportedItem) -> None:
        if read_method(job)[0] != "reinforcement":
            return
        try:
            definition = read_json(json.dumps(job)).definition
        except TextInvalid as error:
            item.notes.append(f"Grader: {error.message} Write it anew under Graders.")
            return
        version = find_or_create_version(self.team, self.user, definition)
        item.grader = version.uid
        for judge in list_missing_judges(self.team, version.parsed):
            item.notes.append(f"The grader asks the judge “{judge}”. Connect it under Judges.")

    def _import_settings(self, job: JsonObject, item: ImportedItem) -> None:
        method, values = read_method(job)
        if method != "reinforcement":
            item.notes.append(f"Settings: a {method} job has no counterpart here. Choose a grader instead.")
            return
        model = read_text(job.get("model"))
        base = find_base(self.team, model)
        if base is None:
            item.notes.append(f"Base model “{model}” is not on this server. Choose another one.")
        asked = _read_hyperparameters(values.get("hyperparameters"), base, item.notes.append)
        item.settings = map_hyperparameters(base or BaseModel(), asked)
        item.base = base.uid if base else ""
        seed = job.get("seed")
        if isinstance(seed, int) and 0 <= seed <= MAX_SEED:
            item.settings["seed"] = seed


def _name_dataset(file: ApiFile) -> str:
    return PurePath(file.filename).stem


def _read_hyperparameters(
    given: object, base: BaseModel | None, note: Callable[[str], None]
) -> Hyperparameters:
    """Return the hyperparameters that can be used. Multipliers need a base model that they multiply."""
    values = dict(given) if isinstance(given, dict) else {}
    if base is None:
        for name in MULTIPLIERS:
            if values.get(name) not in (None, "auto"):
                note(f"{name} {values.pop(name)!r}: it multiplies a value of the base model. Set that value.")
    try:
        return Hyperparameters.model_validate(values)
    except ValidationError as error:
        refused = {str(each["loc"][0]) for each in error.errors()}
    for name in sorted(refused):
        note(f"{name} {read_text(str(values[name]), 40)!r} has no counterpart here. The default is used.")
    usable = {name: value for name, value in values.items() if name not in refused}
    return Hyperparameters.model_validate(usable)


def list_left_behind(job: JsonObject) -> list[str]:
    """Say which parts of a job are not carried over."""
    notes = []
    if job.get("integrations"):
        notes.append("Integrations: Groove sends nothing to other services.")
    if read_method(job)[1].get("response_format"):
        notes.append("Response format: rollouts are not constrained. Let the grader reward the form.")
    if job.get("metadata"):
        notes.append("Metadata: jobs launched on a page have none.")
    if tuned := read_text(job.get("fine_tuned_model")):
        notes.append(f"Tuned model “{tuned}”: its weights cannot be read by API. Train it again here.")
    return [*notes, STAYS]
