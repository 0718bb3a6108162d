"""``json_schema``: an answer that is JSON of a given form, its fields like the reference's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from workers.grading import boxed
from workers.grading.results import Grade, GraderInvalid
from workers.grading.template import TemplateInvalid, parse_path
from workers.spec import JsonSchemaGrader

if TYPE_CHECKING:
    from referencing import Resource

    from workers.grading.opening import Opening

# Bounds the check of a schema to about a second.
MAX_SCHEMA_CHARACTERS = 16_384
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def opened(grader: JsonSchemaGrader, opening: Opening) -> Grade:
    """The grader, ready to grade batches. Raises ``GradingUnavailable``."""
    fields = [
        {"path": path, "steps": parse_path(path), **field.model_dump()}
        for path, field in grader.fields.items()
    ]
    return boxed.opened("json_schema", {"schema": grader.json_schema, "fields": fields}, grader, opening)


def check(grader: JsonSchemaGrader) -> None:
    """Raises ``GraderInvalid``."""
    if grader.fields and grader.reference is None:
        raise GraderInvalid("reference", "fields are compared with a reference: give a template for its JSON")
    if grader.reference is not None and not grader.fields:
        raise GraderInvalid("fields", "nothing is compared with the reference: name fields, or leave it out")
    for path in grader.fields:
        try:
            parse_path(path)
        except TemplateInvalid as error:
            raise GraderInvalid(f"fields.{path}", str(error)) from error
    try:
        _check_schema(grader.json_schema)
    except RecursionError as error:
        raise GraderInvalid("json_schema", "it is nested too deeply") from error


def _check_schema(schema: dict[str, Any]) -> None:
    from jsonschema import Draft202012Validator, SchemaError
    from referencing.jsonschema import DRAFT202012

    size = len(json.dumps(schema))
    if size > MAX_SCHEMA_CHARACTERS:
        raise GraderInvalid("json_schema", f"{size} characters; the limit is {MAX_SCHEMA_CHARACTERS}")
    if str(schema.get("$schema", DRAFT)).rstrip("#") != DRAFT:
        raise GraderInvalid("json_schema.$schema", f"schemas are read as {DRAFT}; convert it to this draft")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = ".".join(map(str, ["json_schema", *error.absolute_path]))
        raise GraderInvalid(place, error.message[:300]) from error
    _check_references(DRAFT202012.create_resource(schema))


def _check_references(resource: Resource[Any]) -> None:
    """Every ``$ref`` must lead to a part of the schema itself, or to a published draft."""
    from jsonschema_specifications import REGISTRY
    from referencing.exceptions import Unresolvable

    waiting = [(resource, REGISTRY.resolver_with_root(resource))]
    while waiting:
        part, resolver = waiting.pop()
        keywords = part.contents if isinstance(part.contents, dict) else {}
        for reference in (keywords[key] for key in ("$ref", "$dynamicRef") if key in keywords):
            try:
                resolver.lookup(reference)
            except (Unresolvable, ValueError) as error:
                message = f"$ref {reference!r} leads nowhere; nothing is fetched, so put it under $defs"
                raise GraderInvalid("json_schema", message) from error
        waiting += [(below, resolver.in_subresource(below)) for below in part.subresources()]
