"""The documents as pages, and the help link of every page."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client

from tests.web.site.test_budgets import named, pages  # noqa: F401 -- a fixture
from tests.web.site.test_tenancy import ADDRESSES, Objects, objects  # noqa: F401 -- a fixture
from webapp.config import documents, help_links
from webapp.teams.models import Team, User

SignIn = Callable[[User], Client]
HELP = re.compile(r"<a[^>]*\sdata-help\s[^>]*href=\"([^\"]+)\"")
ANONYMOUS = ("/", "/accounts/login/", "/accounts/password/reset/", "/docs/", "/docs/jobs/")


def is_there(client: Client, url: str) -> bool:
    """True if the page exists, and its anchor."""
    path, _, anchor = url.partition("#")
    answer = client.get(path)
    return answer.status_code == 200 and (not anchor or f'id="{anchor}"' in answer.text)


def test_every_page_has_a_help_link_whose_target_exists(
    team: Team,
    alice: User,
    named: Objects,  # noqa: F811
    as_user: SignIn,
    client: Client,
) -> None:
    found = {name: HELP.findall(answer.text) for name, answer in pages(as_user(alice), team, named)}
    found |= {path: HELP.findall(client.get(path).text) for path in ANONYMOUS}
    assert len(found) > 40
    assert {name: links for name, links in found.items() if len(links) != 1} == {}
    wrong = {url for (url,) in found.values() if not is_there(client, url)}
    assert wrong == set()


@pytest.mark.parametrize("section", sorted({*help_links.SECTIONS.values(), help_links.ANYWHERE}))
def test_every_section_that_help_names_exists(client: Client, section: str) -> None:
    name, _, anchor = section.partition("#")
    assert is_there(client, f"/docs/{name}/{f'#{anchor}' if anchor else ''}")


def test_help_links_belong_to_existing_pages() -> None:
    known = {address.name for address in ADDRESSES} | {a.name.partition(":")[0] for a in ADDRESSES}
    assert help_links.SECTIONS.keys() <= known


@pytest.mark.parametrize("name", documents.list_names())
def test_links_and_images_of_documents_work_without_other_hosts(client: Client, name: str) -> None:
    document = documents.read_document(name)
    assert document is not None
    assert document.title
    own = [url for url in re.findall(r'<a href="([^"]+)"', document.html) if not url.startswith("http")]
    for url in own:
        assert is_there(client, url if url.startswith("/") else f"/docs/{name}/{url}"), url
    for source in re.findall(r'src="([^"]+)"', document.html):
        assert source.startswith("/docs/images/")
        assert client.get(source).status_code == 200
    assert "<script" not in client.get(f"/docs/{name}/").text.partition("<main")[2]


@pytest.mark.parametrize(
    "path",
    [
        "/docs/nothing/",
        "/docs/..%2FREADME/",
        "/docs/Jobs/",
        "/docs/images/..%2Fjobs.md",
        "/docs/images/no.png",
    ],
)
def test_no_other_file_is_served(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404
