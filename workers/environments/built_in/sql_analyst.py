"""SQL analyst: answers questions about a shop's database with one query, which must hold on hidden data too.

Only standard library: this file runs in the sandbox. The submitted query is run on the database that the
analyst sees and on one with other rows, so that an answer written as a constant earns little.
"""

import random
import sqlite3
from collections import Counter
from functools import lru_cache
from itertools import product
from typing import Any

CITIES = ("Bergen", "Cork", "Ghent", "Graz", "Lyon", "Porto", "Turin", "Utrecht")
CATEGORIES = ("books", "garden", "kitchen", "office", "sport", "toys")
STATUSES = ("paid", "shipped", "returned", "cancelled")
TOPICS = ("billing", "delivery", "login", "quality", "returns")
PRIORITIES = ("low", "normal", "high")
MONTHS = tuple(f"2025-{month:02}" for month in range(1, 13))
FIRST_NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo", "Ines", "Jon")
LAST_NAMES = ("Abel", "Berg", "Costa", "Dahl")
ADJECTIVES = ("Basic", "Compact", "Folding", "Giant", "Premium")
TABLES = {
    "customers": "id INTEGER PRIMARY KEY, name TEXT, city TEXT, tier TEXT, joined TEXT",
    "products": "id INTEGER PRIMARY KEY, name TEXT, category TEXT, price REAL",
    "orders": "id INTEGER PRIMARY KEY, customer_id INTEGER, day TEXT, status TEXT",
    "items": "order_id INTEGER, product_id INTEGER, quantity INTEGER",
    "tickets": (
        "id INTEGER PRIMARY KEY, customer_id INTEGER, topic TEXT, priority TEXT, opened TEXT, closed TEXT"
    ),
}
NOTES = {
    "customers": "tier is standard or gold; joined is a day such as 2024-05-31.",
    "products": f"category is one of {', '.join(CATEGORIES)}; price is in euros.",
    "orders": f"day is a day of 2025 such as 2025-05-31; status is one of {', '.join(STATUSES)}.",
    "items": "One line of an order; its revenue is quantity * price of the product.",
    "tickets": f"topic is one of {', '.join(TOPICS)}; closed is NULL while the ticket is open.",
}
PARTS = {
    "sold": "orders o JOIN items i ON i.order_id = o.id JOIN products p ON p.id = i.product_id",
    "revenue": "SUM(i.quantity * p.price)",
    "kept": "o.status <> 'cancelled'",
}

TEMPLATES: dict[str, tuple[str, str, tuple[tuple[Any, ...], ...]]] = {
    "customers_of_city": (
        "How many customers live in {0}?",
        "SELECT COUNT(*) FROM customers WHERE city = '{0}'",
        tuple(product(CITIES)),
    ),
    "customers_of_tier": (
        "How many customers have the tier {0}?",
        "SELECT COUNT(*) FROM customers WHERE tier = '{0}'",
        (("standard",), ("gold",)),
    ),
    "orders_of_status": (
        "How many orders have the status {0}?",
        "SELECT COUNT(*) FROM orders WHERE status = '{0}'",
        tuple(product(STATUSES)),
    ),
    "tickets_of_topic": (
        "How many tickets are about {0}?",
        "SELECT COUNT(*) FROM tickets WHERE topic = '{0}'",
        tuple(product(TOPICS)),
    ),
    "open_tickets": (
        "How many tickets of {0} priority are still open?",
        "SELECT COUNT(*) FROM tickets WHERE priority = '{0}' AND closed IS NULL",
        tuple(product(PRIORITIES)),
    ),
    "orders_of_month": (
        "How many orders of {0} have the status {1}?",
        "SELECT COUNT(*) FROM orders WHERE substr(day, 1, 7) = '{0}' AND status = '{1}'",
        tuple(product(MONTHS, STATUSES)),
    ),
    "names_of_city": (
        "List the names of the customers in {0}, in alphabetical order.",
        "SELECT name FROM customers WHERE city = '{0}' ORDER BY name",
        tuple(product(CITIES)),
    ),
    "products_of_category": (
        "List name and price of every product of the category {0}.",
        "SELECT name, price FROM products WHERE category = '{0}'",
        tuple(product(CATEGORIES)),
    ),
    "products_above": (
        "List the names of the products that cost more than {0} euros.",
        "SELECT name FROM products WHERE price > {0}",
        tuple(product(range(15, 65, 5))),
    ),
    "cheapest_of_category": (
        "Which product of the category {0} is the cheapest? Give name and price; "
        "of equal ones the first name.",
        "SELECT name, price FROM products WHERE category = '{0}' ORDER BY price, name LIMIT 1",
        tuple(product(CATEGORIES)),
    ),
    "average_price": (
        "What is the average price of the products of the category {0}?",
        "SELECT AVG(price) FROM products WHERE category = '{0}'",
        tuple(product(CATEGORIES)),
    ),
    "orders_of_customer": (
        "How many orders has the customer with the id {0} made?",
        "SELECT COUNT(*) FROM orders WHERE customer_id = {0}",
        tuple(product(range(1, 41))),
    ),
    "revenue_of_customer": (
        "What is the revenue from the customer with the id {0}, without cancelled orders?",
        "SELECT {revenue} FROM {sold} WHERE o.customer_id = {0} AND {kept}",
        tuple(product(range(1, 41))),
    ),
    "revenue_of_category": (
        "What is the revenue from the category {0}, without cancelled orders?",
        "SELECT {revenue} FROM {sold} WHERE p.category = '{0}' AND {kept}",
        tuple(product(CATEGORIES)),
    ),
    "revenue_of_month": (
        "What is the revenue from the category {1} in {0}, without cancelled orders?",
        "SELECT {revenue} FROM {sold} WHERE substr(o.day, 1, 7) = '{0}' AND p.category = '{1}' AND {kept}",
        tuple(product(MONTHS, CATEGORIES[:5])),
    ),
    "revenue_of_city": (
        "What is the revenue from customers in {0}, without cancelled orders?",
        "SELECT {revenue} FROM {sold} JOIN customers c ON c.id = o.customer_id "
        "WHERE c.city = '{0}' AND {kept}",
        tuple(product(CITIES)),
    ),
    "best_sold_products": (
        "Which {1} products of the category {0} were sold most, by quantity, cancelled orders included? Give "
        "name and quantity, the most first; of equal ones the first name first.",
        "SELECT p.name, SUM(i.quantity) FROM {sold} WHERE p.category = '{0}' "
        "GROUP BY p.id ORDER BY SUM(i.quantity) DESC, p.name LIMIT {1}",
        tuple(product(CATEGORIES, (2, 3))),
    ),
    "customers_without_order": (
        "How many customers made no order in {0}?",
        "SELECT COUNT(*) FROM customers WHERE id NOT IN "
        "(SELECT customer_id FROM orders WHERE substr(day, 1, 7) = '{0}')",
        tuple(product(MONTHS)),
    ),
    "tickets_of_city": (
        "How many tickets come from customers in {0}?",
        "SELECT COUNT(*) FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE c.city = '{0}'",
        tuple(product(CITIES)),
    ),
    "frequent_customers": (
        "List the names of the customers with more than {0} orders.",
        "SELECT c.name FROM customers c JOIN orders o ON o.customer_id = c.id "
        "GROUP BY c.id HAVING COUNT(*) > {0}",
        tuple(product(range(7, 14))),
    ),
    "items_of_status": (
        "How many lines has an order of the status {0} on average? Every order has at least one line.",
        "SELECT COUNT(*) * 1.0 / COUNT(DISTINCT o.id) FROM orders o JOIN items i ON i.order_id = o.id "
        "WHERE o.status = '{0}'",
        tuple(product(STATUSES)),
    ),
    "days_to_close": (
        "How many days did closed tickets about {0} stay open on average?",
        "SELECT AVG(julianday(closed) - julianday(opened)) FROM tickets "
        "WHERE topic = '{0}' AND closed IS NOT NULL",
        tuple(product(TOPICS)),
    ),
    "products_never_returned": (
        "List the names of the products that no customer in {0} has ever returned, so that no order with the "
        "status returned of such a customer holds one.",
        "SELECT name FROM products WHERE id NOT IN (SELECT i.product_id FROM items i "
        "JOIN orders o ON o.id = i.order_id JOIN customers c ON c.id = o.customer_id "
        "WHERE c.city = '{0}' AND o.status = 'returned')",
        tuple(product(CITIES)),
    ),
    "best_customers": (
        "Which three customers brought the most revenue in {0}, without cancelled orders? Give name and "
        "revenue, the most first; of equal ones the first name first.",
        "SELECT c.name, {revenue} FROM {sold} JOIN customers c ON c.id = o.customer_id "
        "WHERE substr(o.day, 1, 7) = '{0}' AND {kept} "
        "GROUP BY c.id ORDER BY {revenue} DESC, c.name LIMIT 3",
        tuple(product(MONTHS)),
    ),
}
QUESTIONS = [(name, number) for name, (_, _, values) in TEMPLATES.items() for number in range(len(values))]
"""Every template with the number of its values. Every tenth is for validation, another tenth for the test."""

SEEDS = {"train": (0, 1), "validation": (2, 3), "test": (4, 5, 6)}
HIDDEN = 1000  # is added to a seed for the database that nobody sees
MOST_ROWS, SHOWN_ROWS, MOST_STEPS = 10_000, 20, 400
STEP = 10_000  # of SQLite's virtual machine, between two looks at a query's budget
MOST_BYTES = 100_000
READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
UNSTEADY = {"random", "randomblob", "current_date", "current_time", "current_timestamp"}


class SqlAnalyst:
    """One question about one database. The first submitted query is the answer."""

    system_prompt = (
        "You answer questions about a shop's SQLite database. Look at the tables first and try a query with "
        "run_sql. Then call submit_sql once with one SELECT that answers the question. It must give the "
        "right rows on any data of these tables, so never write down a result that you have seen."
    )
    max_tool_calls = 8

    @classmethod
    def list_splits(cls) -> list[str]:
        return list(SEEDS)

    @classmethod
    def list_tasks(cls, split: str) -> list[dict[str, Any]]:
        kept = {"validation": (8,), "test": (9,)}.get(split, range(8))
        return [
            {"template": name, "number": number, "seed": seed}
            for seed in SEEDS[split]
            for index, (name, number) in enumerate(QUESTIONS)
            if index % 10 in kept
        ]

    def reset(self, template: str, number: int, seed: int) -> str:
        question, gold, values = TEMPLATES[template]
        self.gold = gold.format(*values[number], **PARTS)
        self.seeds = {"visible": seed, "hidden": seed + HIDDEN}
        self.submitted: str | None = None
        return question.format(*values[number])

    def list_tables(self) -> str:
        """List the tables with their numbers of rows."""
        database = _open_database(self.seeds["visible"])
        return "\n".join(f"{table}: {database.count(table)} rows" for table in TABLES)

    def describe_table(self, table: str) -> str:
        """Show the columns of a table.

        Args:
            table: name of the table
        """
        if table not in TABLES:
            raise ValueError(f"no table {table}; the tables are {', '.join(TABLES)}")
        return f"{table}({TABLES[table]})\n{NOTES[table]}"

    def run_sql(self, query: str) -> str:
        """Run a query and show at most 20 of its rows.

        Args:
            query: one SELECT in SQLite's dialect
        """
        names, rows = _open_database(self.seeds["visible"]).run(query)
        lines = [" | ".join(names), *(" | ".join(map(_show, row)) for row in rows[:SHOWN_ROWS])]
        more = len(rows) - SHOWN_ROWS
        return "\n".join([*lines, f"({more} more rows)" if more > 0 else f"(rows: {len(rows)})"])

    def submit_sql(self, query: str) -> str:
        """Submit the query that answers the question. This ends the task.

        Args:
            query: one SELECT in SQLite's dialect
        """
        self.submitted = query
        return "Submitted."

    def _finished(self) -> bool:
        return self.submitted is not None

    def get_reward(self) -> float:
        return min(self._grade(seed)[0] for seed in self.seeds.values())

    def _feedback(self) -> str:
        if self.submitted is None:
            return "Nothing was submitted."
        seeds = self.seeds.items()
        return " ".join(f"On the {name} database {self._grade(seed)[1]}." for name, seed in seeds)

    def _oracle(self) -> list[tuple[str, dict[str, Any]]]:
        used = [table for table in TABLES if f" {table} " in f"{self.gold} "]
        looks: list[tuple[str, dict[str, Any]]] = [("describe_table", {"table": table}) for table in used]
        query = {"query": self.gold}
        return [("list_tables", {}), *looks, ("run_sql", query), ("submit_sql", query)]

    def _grade(self, seed: int) -> tuple[float, str]:
        """Return what the submission earns on the database of a seed, and why."""
        if self.submitted is None:
            return 0.0, "nothing was submitted"
        names, expected = _answer(seed, self.gold)
        try:
            found_names, found = _open_database(seed).run(self.submitted)
        except ValueError as error:
            return 0.0, f"the query fails: {error}"
        if len(found_names) != len(names):
            return 0.05, f"the query gives {len(found_names)} columns, the answer has {len(names)}"
        ordered = " ORDER BY " in self.gold
        if _normalise(found, ordered) == _normalise(expected, ordered):
            return 1.0, "the rows are right"
        if Counter(_normalise(found, False)) == Counter(_normalise(expected, False)):
            return 0.1, "the rows are right but in another order"
        return 0.1, f"the query gives other rows than the answer, {len(found)} instead of {len(expected)}"


class _Database:
    """A database in memory that can only be read, with a budget for each query."""

    def __init__(self, seed: int) -> None:
        self._steps = 0
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        for table, rows in _make_rows(seed).items():
            self._connection.execute(f"CREATE TABLE {table} ({TABLES[table]})")
            marks = ", ".join("?" * len(rows[0]))
            self._connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        self._connection.execute("CREATE INDEX items_by_order ON items(order_id)")
        self._counts = {
            table: self._connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in TABLES
        }
        self._connection.execute("PRAGMA query_only = ON")
        self._connection.execute("PRAGMA hard_heap_limit = 268435456")
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        self._connection.set_progress_handler(self._is_over, STEP)
        self._connection.set_authorizer(_authorize)

    def count(self, table: str) -> int:
        """Return the number of a table's rows."""
        return int(self._counts[table])

    def run(self, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return the columns and rows of a query. Raises ``ValueError`` with the reason."""
        self._steps = 0
        try:
            cursor = self._connection.execute(query)
            rows = cursor.fetchmany(MOST_ROWS)
        except (sqlite3.Error, sqlite3.Warning, MemoryError, OverflowError) as error:
            raise ValueError(self._describe(error)) from None
        if cursor.description is None:
            raise ValueError("this is no query that returns rows")
        return [column[0] for column in cursor.description], rows

    def _is_over(self) -> bool:
        self._steps += 1
        return self._steps > MOST_STEPS

    def _describe(self, error: Exception) -> str:
        if self._steps > MOST_STEPS:
            return "the query takes too long"
        if "authoriz" in str(error) or "prohibited" in str(error):
            return f"{error}; only a SELECT without random values is allowed"
        return str(error) or type(error).__name__


def _authorize(action: int, _first: str | None, second: str | None, *_: str | None) -> int:
    unsteady = action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in UNSTEADY
    return sqlite3.SQLITE_OK if action in READING and not unsteady else sqlite3.SQLITE_DENY


@lru_cache(maxsize=32)
def _open_database(seed: int) -> _Database:
    """Return the database of a seed. Sessions share it: no query can change it."""
    return _Database(seed)


@lru_cache(maxsize=1024)
def _answer(seed: int, gold: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    return _open_database(seed).run(gold)


def _make_rows(seed: int) -> dict[str, list[tuple[Any, ...]]]:
    """Return 40 customers, 30 products, 400 orders with about 1,000 lines, and 200 tickets."""
    dice = random.Random(seed)
    names = [f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES]
    dice.shuffle(names)
    customers = [
        (number, name, dice.choice(CITIES), dice.choice(("standard", "standard", "gold")), _day(dice, 2024))
        for number, name in enumerate(names, 1)
    ]
    goods = [f"{adjective} {category[:4]}" for adjective in ADJECTIVES for category in CATEGORIES]
    products = [
        (number, name, CATEGORIES[(number - 1) % len(CATEGORIES)], dice.randrange(499, 7999, 50) / 100)
        for number, name in enumerate(goods, 1)
    ]
    orders = [
        (number, dice.randint(1, 40), _day(dice, 2025), dice.choices(STATUSES, (5, 3, 1, 1))[0])
        for number in range(1, 401)
    ]
    items = [
        (order[0], dice.randint(1, 30), dice.randint(1, 5))
        for order in orders
        for _ in range(dice.randint(1, 4))
    ]
    tickets = [_make_ticket(dice, number) for number in range(1, 201)]
    return {
        "customers": customers, "products": products, "orders": orders, "items": items, "tickets": tickets
    }  # fmt: skip


def _make_ticket(dice: random.Random, number: int) -> tuple[Any, ...]:
    month, day = dice.randint(1, 11), dice.randint(1, 14)
    closed = f"2025-{month:02}-{day + dice.randint(0, 14):02}" if dice.random() < 0.7 else None
    topic, priority = dice.choice(TOPICS), dice.choice(PRIORITIES)
    return number, dice.randint(1, 40), topic, priority, f"2025-{month:02}-{day:02}", closed


def _day(dice: random.Random, year: int) -> str:
    return f"{year}-{dice.randint(1, 12):02}-{dice.randint(1, 28):02}"


def _normalise(rows: list[tuple[Any, ...]], ordered: bool) -> list[tuple[Any, ...]]:
    """Return rows with numbers to 4 places, sorted unless their order counts."""
    rounded = [tuple(round(value, 4) if isinstance(value, float) else value for value in row) for row in rows]
    return rounded if ordered else sorted(rounded, key=repr)


def _show(value: Any) -> str:
    return "NULL" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
