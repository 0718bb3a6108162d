"""The built-in environments can be solved, only by solving them, and behave in the sandbox as they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workers.contract.environments import PythonEnvironment
from workers.environments import built_in
from workers.environments.built_in import invoice_matching, sql_analyst
from workers.environments.built_in.invoice_matching import InvoiceMatching
from workers.environments.built_in.sql_analyst import SqlAnalyst
from workers.environments.checks import check_determinism, check_oracle, find_scripts, sample_tasks
from workers.environments.python import PythonBackend

FILES = [path for path in Path(built_in.__path__[0]).glob("*.py") if path.stem != "__init__"]
CLASSES = (SqlAnalyst, InvoiceMatching)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_in_the_sandbox_its_oracle_solves_it_and_the_same_calls_give_the_same_results(path: Path) -> None:
    with PythonBackend(PythonEnvironment(source=path.read_text())) as backend:
        assert set(backend.list_splits()) == {"train", "validation", "test"}
        assert backend.system_prompt
        tasks = sample_tasks({"test": backend.list_tasks("test")}, 8, seed=0)
        scripts = find_scripts(backend, tasks)
        assert check_oracle(backend, tasks, scripts).passed
        assert check_determinism(backend, tasks, scripts).passed


def play(kind: type, task: dict[str, Any], *calls: tuple[str, dict[str, Any]]) -> float:
    environment = kind()
    environment.reset(**task)
    for name, arguments in calls:
        getattr(environment, name)(**arguments)
    return environment.get_reward()


@pytest.mark.parametrize("kind", CLASSES)
def test_the_oracle_earns_one_and_an_empty_policy_nothing(kind: type) -> None:
    for task in kind.list_tasks("train")[::9]:
        environment = kind()
        environment.reset(**task)
        oracle = environment._oracle()
        assert len(oracle) <= kind.max_tool_calls
        assert (play(kind, task, *oracle), play(kind, task)) == (1.0, 0.0), task


@pytest.mark.parametrize("kind", CLASSES)
def test_no_task_is_in_two_splits(kind: Any) -> None:
    tasks = [str(task) for split in kind.list_splits() for task in kind.list_tasks(split)]
    assert len(tasks) == len(set(tasks)) > 600


# --- SQL analyst -----------------------------------------------------------------------------------

COUNT = {"template": "customers_of_tier", "number": 0, "seed": 0}
NAMES = {"template": "names_of_city", "number": 0, "seed": 0}


def test_there_are_24_templates_with_about_330_questions() -> None:
    assert (len(sql_analyst.TEMPLATES), len(sql_analyst.QUESTIONS)) == (24, 328)


@pytest.mark.parametrize(
    ("task", "query", "reward"),
    [
        (COUNT, "SELECT COUNT(*) AS n FROM customers WHERE tier IN ('standard')", 1.0),
        (COUNT, "SELECT SUM(tier = 'standard') * 1.0 FROM customers", 1.0),
        (COUNT, "SELECT COUNT(*) FROM customers", 0.1),
        (COUNT, "SELECT COUNT(*), 1 FROM customers", 0.05),
        (COUNT, "SELECT COUNT(*) FROM clients", 0.0),
        (COUNT, "DELETE FROM customers", 0.0),
        (COUNT, "WITH x AS (SELECT 1) DELETE FROM customers", 0.0),
        (COUNT, "SELECT 1; SELECT 2", 0.0),
        (COUNT, "SELECT random()", 0.0),
        (COUNT, "PRAGMA table_info(customers)", 0.0),
        (COUNT, "ATTACH '/tmp/x' AS x", 0.0),
        (COUNT, "", 0.0),
        (NAMES, "SELECT name FROM customers WHERE city = 'Bergen' ORDER BY name", 1.0),
        (NAMES, "SELECT name FROM customers WHERE city = 'Bergen' ORDER BY name DESC", 0.1),
    ],
)
def test_a_query_earns_what_its_rows_are_worth(task: dict[str, Any], query: str, reward: float) -> None:
    assert play(SqlAnalyst, task, ("submit_sql", {"query": query})) == reward


def test_a_constant_that_is_right_on_the_visible_database_earns_a_tenth() -> None:
    environment = SqlAnalyst()
    environment.reset(**COUNT)
    (shown,) = sql_analyst._open_database(0).run(environment.gold)[1]
    environment.submit_sql(f"SELECT {shown[0]}")
    assert environment.get_reward() == 0.1
    assert "On the visible database the rows are right." in environment._feedback()
    environment.seeds["hidden"] = environment.seeds["visible"]
    assert environment.get_reward() == 1.0


def test_an_endless_query_is_stopped_the_same_way_every_time() -> None:
    environment = SqlAnalyst()
    environment.reset(**COUNT)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n"
    with pytest.raises(ValueError, match="takes too long"):
        environment.run_sql(endless)
    assert environment.run_sql("SELECT 1 AS one") == "one\n1\n(rows: 1)"


def test_twenty_rows_of_a_query_are_shown() -> None:
    environment = SqlAnalyst()
    environment.reset(**COUNT)
    assert environment.list_tables().splitlines()[0] == "customers: 40 rows"
    assert "price REAL" in environment.describe_table("products")
    assert environment.run_sql("SELECT id, price FROM products").splitlines()[21] == "(10 more rows)"


# --- invoice matching ------------------------------------------------------------------------------


def test_the_rules_lead_to_the_truth_of_nearly_all_invoices() -> None:
    solved = [invoice_matching._is_solvable(world, n) for world in range(0, 20, 5) for n in range(100)]
    assert 0.96 <= sum(solved) / len(solved) < 1.0


def test_policies_that_do_not_read_earn_less_than_a_quarter() -> None:
    never, first = [], []
    for task in InvoiceMatching.list_tasks("test") + InvoiceMatching.list_tasks("validation"):
        environment = InvoiceMatching()
        environment.reset(**task)
        invoice = environment._invoice
        environment.submit("", "no_match")
        never.append(environment.get_reward())
        found = environment.search_pos(f"{invoice.vendor} {invoice.item}")
        environment.submit(found.partition(" | ")[0], "approve")
        first.append(environment.get_reward())
    assert 0.17 <= sum(never) / len(never) <= 0.22
    assert 0.12 <= sum(first) / len(first) <= 0.2


@pytest.mark.parametrize(
    ("number", "answer", "reward"),
    [
        (0, ("right", "approve"), 1.0),
        (0, ("right", "hold_price"), 0.3),
        (0, ("PO-1", "approve"), 0.1),
        (0, ("PO-1", "hold_price"), 0.0),
        (0, ("right", "no_match"), 0.0),
        (4, ("", "no_match"), 1.0),
        (4, ("PO-1", "approve"), 0.0),
    ],
)
def test_an_answer_is_paid_by_its_parts(number: int, answer: tuple[str, str], reward: float) -> None:
    environment = InvoiceMatching()
    environment.reset(0, number)
    order = environment._invoice.order if answer[0] == "right" else answer[0]
    environment.submit(order, answer[1])
    assert environment.get_reward() == reward
