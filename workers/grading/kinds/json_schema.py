"""``json_schema``: an answer that is JSON of a given form, its fields like the reference's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from workers.contract.graders import JsonSchemaGrader
from workers.contract.json_types import JsonObject
from workers.grading import form_fields
from workers.grading.context import GradingContext
from workers.grading.examples import ANSWER, REFERENCE
from workers.grading.form_fields import FormField
from workers.grading.kind import GraderKind, NormalisePart
from workers.grading.results import Grade, GraderInvalid
from workers.grading.sandboxed import Source, open_source
from workers.grading.template import TemplateInvalid, parse_path

if TYPE_CHECKING:
    from referencing import Resource

# Bounds the check of a schema to about a second.
MAX_SCHEMA_CHARACTERS = 16_384
WRAPPED_IN = ("json_schema", "schema", "response_format", "format", "text", "parameters")
WRAPPER_KEYS = {"type", "name", "strict", "description", "schema", "json_schema", *WRAPPED_IN}
ONE_BELOW = (
    "not", "if", "then", "else", "items", "contains", "additionalProperties", "propertyNames",
    "unevaluatedItems", "unevaluatedProperties", "contentSchema",
)  # fmt: skip
NAMED_BELOW = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
LISTED_BELOW = ("allOf", "anyOf", "oneOf", "prefixItems")
ASSERTIONS = {
    *ONE_BELOW, "properties", "patternProperties", "dependentSchemas", *LISTED_BELOW, "type", "enum", "const",
    "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength",
    "pattern", "maxItems", "minItems", "uniqueItems", "maxContains", "minContains", "maxProperties",
    "minProperties", "required", "dependentRequired", "$ref", "$dynamicRef",
}  # fmt: skip
KEYWORDS = ASSERTIONS | {
    "$schema", "$id", "$anchor", "$dynamicAnchor", "$vocabulary", "$comment", "$defs", "definitions", "title",
    "description", "default", "deprecated", "readOnly", "writeOnly", "examples", "example", "format",
    "contentEncoding", "contentMediaType", "dependencies", "nullable",
}  # fmt: skip
ALIKE = 0.75
DRAFT = "https://json-schema.org/draft/2020-12/schema"

SOURCE = Source("json_schema.py", modules=("thoughts", "fences", "sandboxed.verdicts"))


def open_json_schema(grader: JsonSchemaGrader, context: GradingContext) -> Grade:
    """Return the grader, ready to grade batches. Raises ``GradingUnavailable``."""
    fields = [
        {"path": path, "steps": parse_path(path), **field.model_dump()}
        for path, field in grader.fields.items()
    ]
    config = {"schema": grader.json_schema, "fields": fields, "fenced": grader.fenced}
    return open_source(SOURCE, grader, context, config)


def normalise_json_schema(raw: JsonObject, _: NormalisePart) -> JsonObject:
    """Read a schema in OpenAI's ``response_format`` as the schema itself."""
    return raw | {"json_schema": _unwrap_schema(raw.get("json_schema"))}


def _unwrap_schema(schema: Any) -> Any:
    """Return the schema inside OpenAI's ``response_format`` or a function, or ``schema`` itself."""
    while isinstance(schema, dict):
        inner = [key for key in WRAPPED_IN if isinstance(schema.get(key), dict)]
        if not inner or not schema.keys() <= WRAPPER_KEYS:
            break
        schema = schema[inner[0]]
    return schema


def check_json_schema(grader: JsonSchemaGrader) -> None:
    """Raise ``GraderInvalid`` for a schema or fields that no answer could be compared by."""
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


def _check_schema(schema: JsonObject) -> None:
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
        position = ".".join(map(str, ["json_schema", *error.absolute_path]))
        raise GraderInvalid(position, error.message[:300]) from error
    for path, part in _walk_subschemas(schema, "json_schema"):
        _check_keywords(path, part)
    if schema and not schema.keys() & ASSERTIONS:
        raise GraderInvalid("json_schema", "it allows every JSON value; say at least its type and properties")
    _check_references(DRAFT202012.create_resource(schema))


def _walk_subschemas(schema: Any, path: str) -> Iterator[tuple[str, JsonObject]]:
    """Yield every schema within the schema, with its path."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for key in ONE_BELOW:
        yield from _walk_subschemas(schema.get(key), f"{path}.{key}")
    for key in NAMED_BELOW:
        for name, below in schema.get(key, {}).items():
            yield from _walk_subschemas(below, f"{path}.{key}.{name}")
    for key in LISTED_BELOW:
        for number, below in enumerate(schema.get(key, [])):
            yield from _walk_subschemas(below, f"{path}.{key}.{number}")


def _check_keywords(path: str, schema: JsonObject) -> None:
    """Refuse misspelt keywords: JSON Schema ignores them, so they would allow everything."""
    known = {keyword.casefold(): keyword for keyword in KEYWORDS}
    for key in schema.keys() - KEYWORDS:
        nearest = get_close_matches(key.casefold(), known, n=1, cutoff=ALIKE)
        if nearest:
            advice = f"did you mean {known[nearest[0]]!r}?"
            raise GraderInvalid(f"{path}.{key}", f"JSON Schema ignores the unknown keyword {key!r}; {advice}")
    if not isinstance(schema.get("definitions", {}), dict):
        raise GraderInvalid(f"{path}.definitions", "an object of schemas by name")


def _check_references(resource: Resource[Any]) -> None:
    """Require that every ``$ref`` leads to a part of the schema itself, or to a published draft."""
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


KIND = GraderKind(
    definition=JsonSchemaGrader,
    label="JSON schema",
    explanation="Valid JSON of your schema or 0; then the share of right fields, weighted.",
    example={
        "type": "json_schema",
        "name": "invoice",
        "input": ANSWER,
        "json_schema": {
            "type": "object",
            "properties": {"amount": {"type": "string"}, "currency": {"type": "string"}},
            "required": ["amount", "currency"],
        },
        "reference": REFERENCE,
        "fields": {"amount": {"weight": 2, "compare": "exact"}, "currency": {"compare": "text"}},
    },
    fields=(
        form_fields.INPUT,
        FormField("json_schema", "JSON schema", "json"),
        FormField("fenced", "Accept JSON in a fenced block", "checkbox"),
        form_fields.REFERENCE,
        FormField("fields", "Fields compared with the reference", "field_scores"),
    ),
    has_form=True,
    open=open_json_schema,
    normalise=normalise_json_schema,
    check=check_json_schema,
    rewards_reference=True,
)
