"""Parsing of JSON bodies: refuses what PostgreSQL cannot store."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import BadRequest
from django.http import HttpRequest
from ninja.parser import Parser

from webapp.core.input_checks import load_json


class StorableParser(Parser):
    """Reads JSON without NUL characters, lone surrogates, infinite numbers and endless nesting."""

    def parse_body(self, request: HttpRequest) -> Any:
        """Raises BadRequest with the reason."""
        try:
            return load_json(request.body.decode())
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"The request's body is not valid JSON: {error}.") from error
