"""A model's card: rendered safely, and downloadable unchanged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client

from tests.web.comparison import address, body
from webapp.catalog import model_card, removal
from webapp.registry.models import TunedModel
from webapp.teams.models import User

SignIn = Callable[[User], Client]
CARD = """---
base_model: groove/starter
---

# Reads invoices

| | base | tuned |
|---|---|---|
| mean reward | 0.300 | 0.900 |

See [the hub](https://hub.example/a) or [run.json](run.json).

```python
model = "<b>"
```
"""


def put(model: TunedModel, content: bytes) -> None:
    """Another README.md in the package."""
    key = f"{model.prefix}/README.md"
    default_storage.delete(key)
    default_storage.save(key, ContentFile(content))
    for file in model.files:
        if file["name"] == "README.md":
            file["bytes"] = len(content)
    model.save(update_fields=["files"])


def test_the_card_is_read_by_all_and_downloaded_as_it_is(
    model: TunedModel, alice: User, bob: User, as_user: SignIn
) -> None:
    put(model, CARD.encode())
    assert f'href="{address(model, "card")}"' in as_user(bob).get(model.get_absolute_url()).text
    page = as_user(bob).get(address(model, "card")).text
    article = page.partition("<article")[2].partition("</article>")[0]
    assert "<h2>Reads invoices</h2>" in article
    assert "<td>0.900</td>" in article
    assert '<a href="https://hub.example/a" rel="noopener noreferrer">the hub</a>' in article
    assert "base_model" not in article
    assert "run.json" in article
    assert 'href="run.json"' not in article
    download = address(model, "download", "README.md")
    assert download not in page
    assert download in as_user(alice).get(address(model, "card")).text
    assert body(as_user(alice).get(download)) == CARD.encode()


@pytest.mark.parametrize(
    "markdown",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![spy](https://spy.example/pixel.png)",
        "[click](javascript:alert(1))",
        "[click](data:text/html;base64,PHNjcmlwdD4=)",
        '<a href="https://a.example" onclick="alert(1)" style="position:fixed">x</a>',
        "<iframe src='https://spy.example'></iframe><form action='https://spy.example'><input></form>",
        '<https://a.example/"onmouseover=alert(1)>',
        "---\n---\n<svg onload=alert(1)><style>*{display:none}</style>",
    ],
)
def test_nothing_in_a_card_acts(markdown: str) -> None:
    """Whatever is HTML there is shown as text or is gone."""
    html = model_card.render_card(markdown)
    for tag in ("script", "img", "iframe", "form", "input", "svg", "style"):
        assert f"<{tag}" not in html
    assert "javascript:" not in html.partition('href="')[2].partition('"')[0]
    assert 'href="data:' not in html
    tags = [part.partition(">")[0] for part in html.split("<")[1:]]
    assert not any(word in tag for tag in tags for word in (" on", " style", " src"))


def test_a_card_in_another_encoding_or_with_odd_front_matter_is_still_shown(
    model: TunedModel, alice: User, as_user: SignIn
) -> None:
    put(model, "---\nnever closed\n\n# Größe".encode("latin-1"))
    answer = as_user(alice).get(address(model, "card"))
    assert answer.status_code == 200
    assert "never closed" in answer.text


def test_a_model_without_a_card_or_a_deleted_one_has_no_such_page(
    model: TunedModel, alice: User, as_user: SignIn
) -> None:
    client, files = as_user(alice), model.files
    put(model, b"x" * (model_card.MAX_BYTES + 1))
    assert client.get(address(model, "card")).status_code == 404
    TunedModel.objects.update(files=[file for file in files if file["name"] != "README.md"])
    assert client.get(address(model, "card")).status_code == 404
    assert address(model, "card") not in client.get(model.get_absolute_url()).text
    TunedModel.objects.update(files=files)
    removal.delete_model(model, alice)
    assert client.get(address(model, "card")).status_code == 404
    assert address(model, "card") not in client.get(model.get_absolute_url()).text
