"""Requests are checked before they cost anything, and every error has OpenAI's shape."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.authentication import AuthenticationError

from workers.serve.chat_request import check_request, parse_request
from workers.serve.errors import ApiError, as_api_error, invalid_field

UNSUPPORTED = ("functions", "function_call", "audio", "web_search_options")
REQUEST = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def refuse(body: bytes) -> ApiError:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what the server decides by
        parse_request(body)
    return as_api_error(caught.value)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"null", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_a_bad_request(body: bytes) -> None:
    assert refuse(body).status == 400


@pytest.mark.parametrize("field", ["temperature", "top_p"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", "2.5", '"hot"'])
def test_a_number_out_of_range_names_its_field(field: str, value: str) -> None:
    body = json.dumps(REQUEST)[:-1] + f', "{field}": {value}}}'
    error = refuse(body.encode())
    assert (error.status, error.body["error"]["param"]) == (400, field)  # type: ignore[index, call-overload]


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_field_that_would_change_the_completion_is_refused_unless_it_is_empty(name: str) -> None:
    error = refuse(json.dumps(REQUEST | {name: {"x": 1}}).encode())
    assert (error.status, error.body["error"]["param"]) == (400, name)  # type: ignore[index, call-overload]
    for empty in (None, False, 0, [], {}, ""):
        assert parse_request(json.dumps(REQUEST | {name: empty}).encode()).model == "m"


def test_null_means_the_default_and_other_fields_are_ignored() -> None:
    body = REQUEST | {"temperature": None, "n": None, "stop": None, "user": "me", "store": True}
    request = parse_request(json.dumps(body).encode())
    assert (request.temperature, request.n, request.stop, request.top_p) == (1.0, 1, [], 1.0)
    assert parse_request(json.dumps(REQUEST | {"stop": "."}).encode()).stop == ["."]


@pytest.mark.parametrize(("field", "value"), [("stop", [""]), ("top_logprobs", 2)])
def test_an_empty_stop_text_and_the_most_likely_tokens_alone_are_refused(field: str, value: Any) -> None:
    error: Any = refuse(json.dumps(REQUEST | {field: value}).encode()).body["error"]
    assert error["param"].startswith(field)


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (ApiError(429, "busy", code="rate_limit_exceeded"), 429, "rate_limit_error", "rate_limit_exceeded"),
        (invalid_field("n", "too many"), 400, "invalid_request_error", "invalid_value"),
        (AuthenticationError(), 401, "invalid_request_error", "invalid_api_key"),
        (ZeroDivisionError("division by zero"), 500, "server_error", None),
    ],
)
def test_every_error_has_openais_shape(error: Exception, status: int, kind: str, code: str | None) -> None:
    found = as_api_error(error)
    body: Any = found.body["error"]
    assert (found.status, body["type"], body["code"]) == (status, kind, code)
    assert set(body) == {"message", "type", "param", "code"}
    assert body["message"]


TOOL = {"type": "function", "function": {"name": "f"}}
NAMED = {"type": "function", "function": {"name": "g"}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"logit_bias": {"19": 1}}, "logit_bias"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": NAMED}, "tool_choice"),
        (
            {"tools": [TOOL], "tool_choice": "required", "response_format": {"type": "json_object"}},
            "response_format",
        ),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, Any], param: str) -> None:
    request = parse_request(json.dumps(REQUEST | fields).encode())
    with pytest.raises(ApiError) as caught:
        check_request(request, vocabulary=19)
    error: Any = caught.value.body["error"]
    assert (caught.value.status, error["param"]) == (400, param)


def test_a_missing_field_is_told_from_a_wrong_one() -> None:
    missing: Any = refuse(b'{"model": "m"}').body["error"]
    assert (missing["code"], missing["param"]) == ("missing_required_parameter", "messages")
    wrong: Any = refuse(json.dumps(REQUEST | {"n": "x"}).encode()).body["error"]
    assert (wrong["code"], wrong["param"]) == ("invalid_value", "n")
