"""Groove's own kinds that run in the sandbox: JSON schemas, mathematics and SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from workers.grading import GradeAnswers, GradeResult, Limits, open_grader, validate

Answer = tuple[str, dict[str, Any]]


OPEN: dict[str, GradeAnswers] = {}
STACK = ExitStack()


@pytest.fixture(autouse=True, scope="module")
def _open_graders_are_shared() -> Iterator[None]:
    with STACK:
        yield
    OPEN.clear()


def grades(grader: dict[str, Any], *answers: Answer, limits: Limits | None = None) -> list[GradeResult]:
    key = repr((grader, limits))
    if key not in OPEN:
        OPEN[key] = STACK.enter_context(open_grader(validate(grader), limits=limits))
    return OPEN[key](answers)


def grade(grader: dict[str, Any], text: str, **item: Any) -> GradeResult:
    return grades(grader, (text, item))[0]


# --- json_schema -----------------------------------------------------------------------------------

INVOICE = {
    "type": "object",
    "required": ["total"],
    "properties": {"total": {"type": "number"}, "lines": {"$ref": "#/$defs/lines"}},
    "$defs": {"lines": {"type": "array", "maxItems": 2}},
}
SHAPE = {"type": "json_schema", "json_schema": INVOICE}
FIELDS: dict[str, Any] = {
    **SHAPE,
    "reference": "{{item.invoice}}",
    "fields": {
        "total": {"compare": "number", "tolerance": 0.01, "weight": 2},
        "vendor": {"compare": "text"},
        "lines[0].name": {"compare": "fuzzy"},
    },
}
REFERENCE = {"total": 3.5, "vendor": "ACME  Corp", "lines": [{"name": "bolts"}]}


@pytest.mark.parametrize(
    ("text", "reward", "words"),
    [
        ('{"total": 1, "other": null}', 1.0, ""),
        ('{"total": "1"}', 0.0, "$.total: '1' is not of type 'number'"),
        ('{"total": 1, "lines": [1, 2, 3]}', 0.0, "$.lines: [1, 2, 3]"),
        ("[]", 0.0, "$: [] is not of type 'object'"),
    ],
)
def test_an_answer_satisfies_the_schema_or_is_told_where_not(text: str, reward: float, words: str) -> None:
    result = grade(SHAPE, text)
    assert (result.reward, result.sub_rewards, result.error_class) == (reward, {"valid": reward}, None)
    assert words in result.explanation


@pytest.mark.parametrize("text", ["", "total: 1", '{"total": NaN}', '{"total": 1} ok', "[" * 101 + "]" * 101])
def test_an_answer_that_is_not_json_scores_0_and_is_flagged(text: str) -> None:
    result = grade({"type": "json_schema", "json_schema": {}}, text)
    assert (result.reward, result.sub_rewards) == (0.0, {"valid": 0.0})
    assert result.error_class == "sample_parse_error"


TOTAL = {"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}}
WRAPPED = {"name": "invoice", "strict": True, "schema": TOTAL}


@pytest.mark.parametrize(
    "schema",
    [
        WRAPPED,
        {"type": "json_schema", "json_schema": WRAPPED},
        {"type": "json_schema", **WRAPPED},
        {"response_format": {"type": "json_schema", "json_schema": WRAPPED}},
        {"format": {"type": "json_schema", **WRAPPED}},
        {"name": "f", "description": "a function", "parameters": TOTAL},
    ],
)
def test_a_schema_in_openais_wrapper_is_unwrapped(schema: dict[str, Any]) -> None:
    grader = {"type": "json_schema", "json_schema": schema}
    rewards = [grade(grader, text).reward for text in ("{}", '{"total": "x"}', '{"total": 1}')]
    assert rewards == [0.0, 0.0, 1.0]


FENCED = 'Here it is:\n```json\n{"total": 1}\n```\nDone.'


def test_json_in_a_fence_counts_only_if_the_grader_says_so() -> None:
    alone = {"type": "json_schema", "json_schema": TOTAL}
    refused, accepted = grade(alone, FENCED), grade({**alone, "fenced": True}, FENCED)
    assert (refused.reward, refused.error_class) == (0.0, "sample_parse_error")
    assert "fenced" in (refused.error_detail or refused.explanation)
    assert accepted.reward == 1.0
    texts = ['~~~json\r\n{"total": 1}\r\n~~~', '```json\n{"total": 1}', '  ```JSON\n  {"total": 1}\n  ```',
             '```json {"total": 1} ```', '```\n{"total": 1}\n```', '<think>{}</think>{"total": 1}',
             '```json\n{}\n```\n```json\n{"total": 1}\n```\n```text\nok\n```']  # fmt: skip
    assert [grade({**alone, "fenced": True}, text).reward for text in texts] == [1.0] * len(texts)


def test_fields_are_weighed() -> None:
    right = '{"total": 3.504, "vendor": "acme corp", "lines": [{"name": "bolt"}]}'
    result = grade(FIELDS, right, invoice=REFERENCE)
    assert result.sub_rewards["lines[0].name"] == pytest.approx(8 / 9)
    assert result.reward == pytest.approx((2 + 1 + 8 / 9) / 4)
    wrong = grade(FIELDS, '{"total": 3.52, "lines": []}', invoice=REFERENCE)
    assert wrong.reward == 0.0
    assert wrong.sub_rewards == {"valid": 1.0, "total": 0.0, "vendor": 0.0, "lines[0].name": 0.0}


@pytest.mark.parametrize(
    ("compare", "given", "expected", "score"),
    [
        ("exact", "1", 1.0, 1.0),
        ("exact", "true", 1, 0.0),
        ("exact", "[true]", [1], 0.0),
        ("exact", '{"a": [1]}', {"a": [1.0]}, 1.0),
        ("exact", '"A"', "a", 0.0),
        ("text", '" A\\n b"', "a B", 1.0),
        ("text", "7", "7", 1.0),
        ("number", "0.30000000000000004", 0.3, 1.0),
        ("number", '"3"', 3, 0.0),
        ("number", "9" * 400, 3, 0.0),
        ("number", "true", 1, 0.0),
    ],
)
def test_comparisons(compare: str, given: str, expected: Any, score: float) -> None:
    grader = {
        "type": "json_schema",
        "json_schema": {},
        "reference": "{{item.r}}",
        "fields": {"x": {"compare": compare}},
    }
    assert grade(grader, f'{{"x": {given}}}', r={"x": expected}).reward == score


@pytest.mark.parametrize(
    ("invoice", "error_class", "words"),
    [
        ({"total": 1, "lines": [{"name": "a"}]}, "invalid_variable_error", "no vendor"),
        ("not JSON", "other_error", "not JSON"),
        ({**REFERENCE, "total": "3.5"}, "other_error", "no number"),
    ],
)
def test_a_reference_that_cannot_be_compared_is_not_the_models_fault(
    invoice: Any, error_class: str, words: str
) -> None:
    result = grade(FIELDS, '{"total": 1}', invoice=invoice)
    assert (result.reward, result.error_class) == (None, error_class)
    assert words in (result.error_detail or "")


@pytest.mark.parametrize(
    ("schema", "words"),
    [({"type": "string", "pattern": "^(a+)+$"}, "simpler"), ({"$ref": "#"}, "refers to itself")],
)
def test_a_schema_that_never_ends_is_not_the_models_fault(schema: dict[str, Any], words: str) -> None:
    grader = {"type": "json_schema", "json_schema": schema}
    slow, next_one = grades(
        grader, ('"' + "a" * 40 + '!"', {}), ("not JSON", {}), limits=Limits(item_seconds=0.5)
    )
    assert (slow.reward, slow.error_class) == (None, "other_error")
    assert words in (slow.error_detail or "")
    assert next_one.reward == 0.0


# --- math ------------------------------------------------------------------------------------------

MATH = {"type": "math", "reference": "{{item.answer}}"}


@pytest.mark.parametrize(
    ("text", "answer", "reward"),
    [
        ("The answer is $\\frac{1}{2}$.", "0.5", 1.0),
        ("so \\boxed{2\\sqrt{2}}", "\\sqrt{8}", 1.0),
        ("x + 1", "1+x", 1.0),
        ("x + 1", "1", 0.0),
        ("1,000", "1000", 1.0),
        ("$\\{2, 1\\}$", "\\{1, 2\\}", 1.0),
        ("43", "42", 0.0),
        ("First 41, no: 42", "42", 1.0),
    ],
)
def test_mathematics_is_compared_by_meaning(text: str, answer: str, reward: float) -> None:
    result = grade(MATH, text, answer=answer)
    assert (result.reward, result.error_class) == (reward, None)


def test_what_cannot_be_read_is_the_answers_fault_or_the_rows() -> None:
    answer, row = grades(MATH, ("no idea", {"answer": "42"}), ("42", {"answer": "no idea"}))
    assert (answer.reward, answer.error_class) == (0.0, "sample_parse_error")
    assert (row.reward, row.error_class) == (None, "other_error")


def test_an_answer_that_takes_for_ever_scores_0_and_a_row_that_does_is_missing() -> None:
    towers = "$9^{9^{9^9}}-9^{9^{9^9}}$"
    limits = Limits(item_seconds=1.0)
    answer, row, after = grades(
        MATH, (towers, {"answer": "42"}), ("42", {"answer": towers}), ("42", {"answer": "42"}), limits=limits
    )
    assert (answer.reward, answer.error_class) == (0.0, "unresponsive_reward_error")
    assert (row.reward, row.error_class) == (None, "other_error")
    assert after.reward == 1.0


# --- sql -------------------------------------------------------------------------------------------

TABLE = "create table t(a integer, b real, c text);"
VISIBLE = TABLE + "insert into t values (1, 1.5, 'x'), (2, 2.5, 'y'), (3, 0.5, 'z');"
HIDDEN = TABLE + "insert into t values (1, 1.5, 'x'), (7, 2.5, 'y');"
SQL = {"type": "sql", "reference": "{{item.gold}}", "databases": [VISIBLE, HIDDEN], "partial": 0.1}
SUM = "SELECT sum(a) FROM t"


@pytest.mark.parametrize(
    ("query", "gold", "reward"),
    [
        ("SELECT total(a) AS whatever FROM t;", SUM, 1.0),
        ("Let me think.\n```sql\nSELECT 1\n```\nNo:\n```sql\nSELECT sum(a) FROM t;\n```", SUM, 1.0),
        ("SELECT 6", SUM, 0.1),
        ("SELECT sum(a), 1 FROM t", SUM, 0.1),
        ("SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t", 1.0),
        ("SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t ORDER BY a", 0.1),
        ("SELECT a FROM t ORDER BY a DESC", "SELECT a FROM (SELECT a FROM t ORDER BY a)", 1.0),
        ("SELECT a FROM t UNION ALL SELECT a FROM t", "SELECT a FROM t", 0.1),
        ("SELECT DISTINCT 1 FROM t", "SELECT 1 FROM t", 0.1),
        ("SELECT b + 0.00001 FROM t", "SELECT b FROM t", 1.0),
        ("SELECT b + 0.001 FROM t", "SELECT b FROM t", 0.1),
        ("WITH u AS (SELECT a FROM t) SELECT sum(a) FROM u -- done", SUM, 1.0),
    ],
)
def test_a_query_is_judged_by_what_it_gives(query: str, gold: str, reward: float) -> None:
    result = grade(SQL, query, gold=gold)
    assert (result.reward, result.error_class) == (reward, None)


SUMS = "SELECT a, sum(b) FROM t GROUP BY a"


@pytest.mark.parametrize(
    "text",
    [
        f"```sql\n{SUMS};\n```\nThis gives:\n```\n1 | 1.5\n```\n",
        f"```sql\n{SUMS};\n```\nNote:\n```text\none row each\n```",
        f"I check it so:\n```python\nprint(rows)\n```\n```sql\n{SUMS}\n```",
        f"```bash\nsqlite3 shop.db\n```\nThen:\n```sql\n{SUMS};\n```\n",
        f"```sql {SUMS}; ```",
        f"The query is ```sql {SUMS}```.",
        f"```postgresql\n{SUMS}\n```",
        f"```SQLite\n{SUMS}\n```",
        f"~~~sql\n{SUMS}\n~~~",
        f"````sql\n{SUMS}\n````",
        f"```sql\n{SUMS}",
        f"1. So:\n   ```sql\n   {SUMS}\n   ```\n2. Done.",
        f"> ```sql\r\n> {SUMS}\r\n> ```".replace("> SELECT", "SELECT"),
        f"```\n{SUMS}\n```\n```\n1 | 1.5\n```",
        f"{SUMS}\n```text\na note\n```",
        f"`{SUMS}`",
        f"<think>```sql\nSELECT 1\n```</think>{SUMS}",
        f"```sql\nSELECT 1\n```\nNo:\n```sql\n{SUMS}\n```",
    ],
)
def test_the_query_is_found_among_other_blocks(text: str) -> None:
    result = grade(SQL, text, gold=SUMS)
    assert (result.reward, result.error_class) == (1.0, None)
    assert "run: SELECT a, sum(b)" in result.explanation


def test_of_two_queries_the_last_counts_even_if_it_is_wrong() -> None:
    assert grade(SQL, f"```sql\n{SUMS}\n```\nShorter:\n```sql\nSELECT a FROM t\n```", gold=SUMS).reward == 0.1


TIES = (
    "CREATE TABLE r(name TEXT, points INTEGER); "
    "INSERT INTO r VALUES ('Vera', 9), ('Ana', 9), ('Kai', 4), ('Bo', 9), ('Lu', 4);"
)
ORDERED: dict[str, Any] = {**SQL, "databases": [TIES]}


NAMES, BOTH = "SELECT name FROM r ORDER BY", "SELECT name, points FROM r ORDER BY"
COUNTS = "SELECT points, count(*) FROM r GROUP BY 1 ORDER BY"


@pytest.mark.parametrize(
    ("gold", "query", "reward"),
    [
        (f"{BOTH} points DESC", f"{BOTH} points DESC, name", 1),
        (f"{BOTH} points DESC", f"{BOTH} points", 0.1),
        (f"{NAMES} points DESC", f"{NAMES} points DESC, name", 1),
        (f"{NAMES} points DESC", f"{NAMES} name", 0.1),
        ("SELECT name AS n FROM r ORDER BY r.points * 2 DESC", f"{NAMES} points DESC, name", 1),
        (f"{BOTH} 2 DESC, 1", f"{BOTH} points DESC, name DESC", 0.1),
        (f"{COUNTS} count(*)", f"{COUNTS} 2", 1),
        (f"{NAMES} points DESC LIMIT 2", f"{NAMES} points DESC, name LIMIT 2", 1),
        (f"{NAMES} points DESC LIMIT 2", f"{NAMES} points, name LIMIT 2", 0.1),
        (f"{NAMES} points DESC LIMIT 3", "SELECT name FROM r WHERE points = 9", 1),
        ("WITH q AS (SELECT * FROM r) SELECT name FROM q ORDER BY points", f"{NAMES} points, name", 1),
    ],
)
def test_any_order_of_equal_keys_fits(gold: str, query: str, reward: float) -> None:
    assert grade(ORDERED, query, gold=gold).reward == reward


def test_a_tie_at_the_limit_is_said() -> None:
    gold = "SELECT name FROM r ORDER BY points DESC LIMIT 2"
    assert "LIMIT cuts rows that its ORDER BY leaves equal" in grade(ORDERED, gold, gold=gold).explanation
    three = "SELECT name FROM r ORDER BY points DESC LIMIT 3"
    assert grade(ORDERED, three, gold=three).explanation == ""
    open_ = "SELECT name FROM r LIMIT 2"
    assert "LIMIT without ORDER BY" in grade(ORDERED, open_, gold=open_).explanation


@pytest.mark.parametrize(
    ("given", "wanted", "reward"),
    [("0.00001", "0.00002", 0.1), ("1234567.25", "1234567.75", 0.1), ("0.1 + 0.2", "0.3", 1.0),
     ("0.1 + 0.2 - 0.3", "0", 1.0), ("1.00001", "1.0", 1.0), ("3", "3.0", 1.0), ("'3'", "3", 0.1)],
)  # fmt: skip
def test_numbers_are_compared_relatively(given: str, wanted: str, reward: float) -> None:
    assert grade(SQL, f"SELECT {given}", gold=f"SELECT {wanted}").reward == reward


def test_a_hard_coded_answer_is_caught_by_the_second_database() -> None:
    hard_coded = ("SELECT 6", {"gold": SUM})
    (fooled,) = grades({**SQL, "databases": [VISIBLE]}, hard_coded)
    (caught,) = grades(SQL, hard_coded)
    assert (fooled.reward, caught.reward) == (1.0, 0.1)
    assert caught.sub_rewards == {"database_1": 1.0, "database_2": 0.0}
    assert caught.explanation == "database 2: other rows than the reference"


ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELEC 1", 'near "SELEC": syntax error'),
        ("", "no query"),
        ("-- nothing", "no query"),
        (f"{SUM}; {SUM}", "one statement"),
        ("DELETE FROM t", "only read"),
        ("DROP TABLE t", "only read"),
        ("CREATE TEMP TABLE u AS SELECT 1", "only read"),
        ("ATTACH ':memory:' AS u", "only read"),
        ("PRAGMA query_only=0", "only read"),
        ("VACUUM", "only read"),
        ("SELECT load_extension('x')", "only read"),
        ("SELECT random()", "only read"),
        ("SELECT hex(zeroblob(1000000000))", "too big"),
        ("SELECT '\0'", "null character"),
        (ENDLESS, "seconds"),
    ],
)
def test_a_query_that_does_not_run_scores_0_with_the_reason(query: str, words: str) -> None:
    bad, good = grades(SQL, (query, {"gold": SUM}), (SUM, {"gold": SUM}))
    assert (bad.reward, bad.sub_rewards, bad.error_class) == (0.0, {}, None)
    assert words in bad.explanation
    assert good.reward == 1.0


@pytest.mark.parametrize(
    ("databases", "gold", "words"),
    [
        ([VISIBLE], "SELECT nope FROM t", "no such column: nope"),
        ([VISIBLE], ENDLESS, "seconds"),
        ([VISIBLE], ENDLESS.replace("count(*)", "n"), "more than 10000 rows"),
        ([VISIBLE, "create table"], SUM, "database 2 cannot be built"),
    ],
)
def test_a_reference_or_a_database_that_fails_is_not_the_models_fault(
    databases: list[str], gold: str, words: str
) -> None:
    result = grade({**SQL, "databases": databases}, "SELECT 1", gold=gold)
    assert (result.reward, result.error_class) == (None, "other_error")
    assert words in (result.error_detail or "")


# --- all of them -----------------------------------------------------------------------------------


@pytest.mark.parametrize("grader", [SHAPE, MATH, SQL])
def test_an_overlong_answer_scores_0_without_being_run(grader: dict[str, Any]) -> None:
    result = grade(grader, "9" * 70_000, answer="1", gold=SUM)
    assert (result.reward, result.error_class) == (0.0, "truncated_observation_error")


def test_a_row_nested_without_end_is_missing_and_costs_only_itself() -> None:
    row: list[Any] = []
    for _ in range(980):
        row = [row]
    deep, after = grades(MATH, ("42", {"answer": row}), ("42", {"answer": 42}))
    assert (deep.reward, deep.error_class, after.reward) == (None, "other_error", 1.0)


def test_they_are_parts_of_a_multi_and_of_a_rubric_with_their_reasons() -> None:
    parts = {"shape": SHAPE, "right": {**MATH, "input": "{{sample.output_json.total}}"}}
    multi = {"type": "multi", "graders": parts, "calculate_output": "shape * right"}
    whole = grade(multi, '{"total": 42}', answer="42")
    assert (whole.reward, whole.sub_rewards) == (1.0, {"shape": 1.0, "right": 1.0})
    assert whole.explanation == "right: the answer was read as 42"
    rubric = {"type": "rubric", "criteria": [{"name": name, "grader": part} for name, part in parts.items()]}
    half = grade(rubric, '{"total": 41}', answer="42")
    assert (half.reward, half.sub_rewards) == (0.5, {"shape": 1.0, "right": 0.0})
    assert half.explanation == "right: the answer was read as 41"
