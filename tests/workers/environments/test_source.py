"""An environment's source is read without running it: tools as JSON Schema, and what is wrong with it."""

from __future__ import annotations

import ast
import re
from typing import Any, Literal

import pytest
from transformers.utils.chat_template_utils import get_json_schema

from workers.environments import find_problems
from workers.environments.source import read_class
from workers.environments.tools import describe_tool, find_mismatch

METHODS = """
    @classmethod
    def list_splits(cls) -> list[str]:
        return ["train"]
    @classmethod
    def list_tasks(cls, split: str) -> list[dict]:
        return [{"seed": 1}]
    def reset(self, seed: int) -> str:
        return "Begin."
    def get_reward(self) -> float | None:
        return 1.0
"""


def write_source(*, head: str = "class Desk:", body: str = "", methods: str = METHODS) -> str:
    return f"{head}{methods}{body}"


TOOL = '''
    def refund(self, order: str, cents: int, kind: Literal["full", "part"] = "full", tags: list[str] = [],
               prices: dict[str, float] = {}, note: str | None = None, sure: bool = True) -> str:
        """Refund an order.

        Money leaves at once.

        Args:
            order: such as O1001,
                or a link.
            cents: at least 1
            kind: how much
            tags: words
            prices: by item
            note: for the customer
            sure: really

        Returns:
            A line.
        """
        return ""
'''


def test_a_tool_gets_the_schema_that_transformers_would_make() -> None:
    namespace: dict[str, Any] = {"Literal": Literal}
    exec(f"class Desk:{TOOL}", namespace)
    expected = get_json_schema(namespace["Desk"]().refund)
    expected["function"].pop("return")
    assert read_class(write_source(body=TOOL)).tools == [expected]


def test_a_hint_may_be_a_name_or_text() -> None:
    method = ast.parse(
        'def f(self, a: Kind, b: "int"):\n  """Do.\n\n  Args:\n    a: x\n    b: y\n  """'
    ).body[0]
    assert isinstance(method, ast.FunctionDef)
    kind = ast.parse('Literal["a", "b"]', mode="eval").body
    tool: Any = describe_tool(method, {"Kind": kind})
    assert tool["function"]["parameters"]["properties"] == {
        "a": {"type": "string", "enum": ["a", "b"], "description": "x"},
        "b": {"type": "integer", "description": "y"},
    }


def tool(signature: str, doc: str = '"""Do."""') -> str:
    return f"\n    def act({signature}):\n        {doc}\n        return ''\n"


DOCUMENTED = '"""Do.\n\n        Args:\n            a: it\n        """'


@pytest.mark.parametrize(
    ("source", "line", "cause"),
    [
        ("class Desk", 1, "expected ':'"),
        ("x = 1", 1, "no public class"),
        (write_source() + write_source(head="\nclass Other:"), 13, "several classes"),
        (write_source(head="class Desk(dict):"), 1, "base class"),
        (write_source(methods=METHODS.replace("def list_splits(cls)", "def _x(cls)")), 1, "no method list_s"),
        (write_source(methods=METHODS.replace("@classmethod", "", 1)), 3, "no class method"),
        (
            write_source(methods=METHODS.replace("get_reward(self", "get_reward(self, x")),
            10,
            "2 arguments|1 arg",
        ),
        (write_source(body=tool("self, a")), 13, "no type hint"),
        (write_source(body=tool("self, a: int")), 13, "does not describe a"),
        (write_source(body=tool("self", "pass")), 13, "no docstring"),
        (write_source(body=tool("self, a: bytes", DOCUMENTED)), 13, "bytes .* no JSON type"),
        (write_source(body=tool("self, *a: int")), 13, r"\*args"),
        (write_source(body="\n    @property" + tool("self")), 14, "decorator"),
        (write_source(body=tool("self, a: " + "+".join("x" * 3000), DOCUMENTED)), 1, "nested|recursion"),
        (write_source(body=tool("self").replace("act", "größe")), 13, "a name that APIs refuse"),
        (write_source(body=tool("self", '"""Do \\ud800."""')), 13, "half a surrogate pair"),
        (write_source(body="\n    async def act(self): pass"), 13, "async"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(source: str, line: int, cause: str) -> None:
    (problem,) = find_problems(source)
    assert (problem["line"], bool(re.search(cause, problem["message"]))) == (line, True), problem
    assert problem["message"].endswith((".", ":"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": "a"}, "refund needs the argument cents"),
        ({"order": "a", "cents": "1"}, 'cents must be a whole number, not "1"'),
        ({"order": "a", "cents": True}, "cents must be a whole number, not True"),
        ({"order": "a", "cents": 1, "kind": "all"}, 'kind must be one of full, part, not "all"'),
        ({"order": "a", "cents": 1, "tags": ["x", 1]}, "tags must be a list with each item text"),
        (
            {"order": "a", "cents": 1, "prices": {"x": None}},
            "prices must be an object with each value a number",
        ),
        ({"order": "a", "cents": 1, "size": 1}, "refund has no argument size; it takes order, cents"),
        ({"order": "a", "cents": 1, "note": None, "prices": {"x": 1.5}, "tags": []}, ""),
    ],
)
def test_arguments_that_do_not_fit_are_explained_to_the_model(
    arguments: dict[str, Any], message: str
) -> None:
    found = find_mismatch(read_class(write_source(body=TOOL)).tools[0], arguments)
    assert found.startswith(message)
    assert bool(found) == bool(message)


@pytest.mark.parametrize(
    ("body", "shared"),
    [
        ("\n    def _x(self): self.n = 1", False),
        ("\n    seen = ['a']\n    def _x(self): return self.seen[0]", False),
        ("\n    seen = []\n    def _x(self): self.seen.append(1)", True),
        ("\n    def _x(self): type(self).n = 1", True),
        ("\n    def _x(self): self.__class__.n = 1", True),
        ("\n    def _x(self): Desk.n = 1", True),
        ("\n    def _x(self):\n        global n\n        n = 1", True),
    ],
)
def test_state_that_sessions_would_share_is_recognised(body: str, shared: bool) -> None:
    assert read_class(write_source(body=body)).shares_state is shared
