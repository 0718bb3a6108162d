"""Filling fields as a person does."""

from __future__ import annotations

from playwright.sync_api import Page


def choose_option(page: Page, field: str, start: str) -> None:
    """Choose the first option of the field whose text begins so; more may follow, such as rows and time."""
    select = page.get_by_label(field, exact=True)
    texts = select.locator("option").all_inner_texts()
    select.select_option(index=next(n for n, text in enumerate(texts) if text.strip().startswith(start)))
