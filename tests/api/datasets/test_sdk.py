"""OpenAI's SDK, unmodified, against a running site."""

from __future__ import annotations

from collections.abc import Callable

import openai
import pytest

from tests.api.conftest import make_secret
from tests.api.forms import write_rows
from tests.conftest import Process, free_port, until_up
from webapp.teams.models import Team, User


@pytest.fixture
def client(start: Callable[..., Process], team: Team, alice: User) -> openai.OpenAI:
    port = free_port()
    start("uvicorn", "webapp.config.asgi:application", "--port", str(port), "--lifespan", "off")
    address = until_up(f"http://127.0.0.1:{port}")
    return openai.OpenAI(api_key=make_secret(team, alice), base_url=f"{address}/v1", max_retries=0)


def test_the_sdk_sends_reads_and_deletes_files(client: openai.OpenAI) -> None:
    rows = write_rows(20)
    sent = [
        client.files.create(
            file=(f"{number}.jsonl", rows),
            purpose="fine-tune",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        for number in range(3)
    ]
    assert client.files.wait_for_processing(sent[0].id, poll_interval=0.01).status == "processed"
    assert [file.id for file in client.files.list(limit=1, order="asc")] == [file.id for file in sent]
    assert client.files.content(sent[1].id).read() == rows
    large = b"\0" * 2**21  # more than forms of pages may have
    copy = client.files.create(file=("large.bin", large), purpose="user_data")
    assert client.files.content(copy.id).read() == large
    assert client.files.delete(sent[1].id).deleted
    with pytest.raises(openai.NotFoundError) as missing:
        client.files.retrieve(sent[1].id)
    assert (missing.value.param, (missing.value.request_id or "")[:4]) == ("id", "req_")
    with pytest.raises(openai.BadRequestError) as wrong:
        client.files.create(file=b"not JSON", purpose="fine-tune")
    assert wrong.value.code == "invalid_file_format"

    upload = client.uploads.upload_file_chunked(
        file=rows,
        filename="parts.jsonl",
        bytes=len(rows),
        mime_type="text/jsonl",
        purpose="fine-tune",
        part_size=100,
    )
    assert upload.status == "completed"
    assert upload.file
    assert client.files.content(upload.file.id).read() == rows
    started = client.uploads.create(
        bytes=5, filename="a.bin", mime_type="application/octet-stream", purpose="user_data"
    )
    assert client.uploads.cancel(started.id).status == "cancelled"
