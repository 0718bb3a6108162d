"""An API with an OpenAPI document that names the error envelope."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema
from ninja.parser import Parser
from pydantic import TypeAdapter

from webapp.core.api.errors import Envelope
from webapp.core.input_checks import load_json

ENVELOPE = "ErrorEnvelope"
ERRORS = {
    "description": "An error, in the same form for every URL",
    "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{ENVELOPE}"}}},
}


class JsonParser(Parser):
    """Refuses JSON that PostgreSQL cannot store, such as NUL characters and numbers beyond a float."""

    def parse_body(self, request: HttpRequest) -> Any:
        return load_json(request.body.decode())


class Api(NinjaAPI):
    """An API whose document names the error envelope for every operation."""

    def __init__(self, **options: Any) -> None:
        super().__init__(docs_url=None, parser=JsonParser(), **options)

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        """Return the document, with the envelope as the answer of each 4xx status."""
        schema = super().get_openapi_schema(**options)
        envelope = TypeAdapter(Envelope).json_schema(ref_template="#/components/schemas/{model}")
        schemas = schema["components"].setdefault("schemas", {})
        schemas |= envelope.pop("$defs", {}) | {ENVELOPE: envelope}
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"].setdefault("4XX", ERRORS)
        return schema
