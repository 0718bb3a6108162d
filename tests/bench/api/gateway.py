"""What the gateway adds to a model server: milliseconds to an answer, memory for open streams.

The model server is a process that answers in a fixed time, so that only the gateway is measured. Web process,
model server and callers share the machine's cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from statistics import median, quantiles
from typing import Any

import httpx2
import psutil

from tests.bench.result import Result
from tests.bench.scale import sized

CALLERS, REQUESTS, WARM_UP = 16, sized(40, 4), 3
STREAMS, EVENTS, EVENT_SECONDS = sized(500, 20), sized(40, 6), 0.5
ANSWER_SECONDS = 0.2
MIB = 2**20
SERVER = f"""
import asyncio, json
CHOICE = {{"index": 0, "finish_reason": "stop", "logprobs": None,
          "message": {{"role": "assistant", "content": "Hi", "refusal": None}}}}
USAGE = {{"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}}
BODY = {{"id": "1", "object": "chat.completion", "created": 1, "model": "m", "adapter_sha256": ""}}
WHOLE = json.dumps(BODY | {{"choices": [CHOICE], "usage": USAGE}}).encode()
JSON = "HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: "
HEAD = f"{{JSON}}{{len(WHOLE)}}\\r\\n\\r\\n".encode()
DELTA = {{"index": 0, "delta": {{"content": "word "}}, "finish_reason": None}}
CHUNK = b"data: " + json.dumps(BODY | {{"choices": [DELTA], "usage": None}}).encode() + b"\\n\\n"
EVENTS = b"HTTP/1.1 200 OK\\r\\ncontent-type: text/event-stream\\r\\nconnection: close\\r\\n\\r\\n"

async def stream(writer):
    writer.write(EVENTS)
    for _ in range({EVENTS}):
        writer.write(CHUNK)
        await writer.drain()
        await asyncio.sleep({EVENT_SECONDS})
    writer.write(b"data: [DONE]\\n\\n")
    writer.close()

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            size = int(head.lower().split(b"content-length:")[1].split(b"\\r\\n")[0])
            if b'"stream":true' in await reader.readexactly(size):
                return await stream(writer)
            await asyncio.sleep({ANSWER_SECONDS})
            writer.write(HEAD + WHOLE)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@contextmanager
def run_site() -> Iterator[tuple[str, str, str, psutil.Process]]:
    """The URL and a key of a web process, the URL of its model server, and the web process."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    import django

    django.setup()
    from django.core.management import call_command

    from tests.conftest import free_port, until_up

    call_command("migrate", verbosity=0)
    port, model = (
        free_port(),
        subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True),
    )
    assert model.stdout is not None
    served = f"http://127.0.0.1:{int(model.stdout.readline())}/v1"
    key = _prepare(served)
    settings = {
        "DJANGO_SETTINGS_MODULE": "webapp.config.settings",
        "GROOVE_API_REQUESTS_PER_MINUTE": "1000000",
    }
    command = ["uvicorn", "webapp.config.asgi:application", "--port", str(port), "--lifespan", "off"]
    web = subprocess.Popen([sys.executable, "-m", *command, "--no-access-log"], env=os.environ | settings)
    try:
        url = until_up(f"http://127.0.0.1:{port}")
        yield f"{url}/v1", key, served, psutil.Process(web.pid)
    finally:
        for process in (web, model):
            process.kill()
            process.wait()


def _prepare(served: str) -> str:
    """Register the model server as ready; return a key of a new team."""
    from django.utils import timezone

    from webapp.keys.models import Scope
    from webapp.keys.services import create_key
    from webapp.registry.services import ensure_starter_model
    from webapp.serving.models import ModelServer
    from webapp.teams.models import User
    from webapp.teams.services import create_team

    user = User.objects.create_user("bench@example.com", None)
    ModelServer.objects.create(
        base_model=ensure_starter_model(), state="running", attempt=1, url=served, token="t", warm=True,
        lease_until=timezone.now() + timedelta(days=1),
    )  # fmt: skip
    return create_key(create_team(user, "Bench"), user, "bench", Scope)[1]


def build_body(**more: Any) -> bytes:
    messages = [{"role": "user", "content": "Say hello."}]
    return json.dumps({"model": "groove/starter", "messages": messages} | more).encode()


# --- overhead ----------------------------------------------------------------------------------------


async def measure_latencies(url: str, key: str) -> list[float]:
    """Milliseconds of each request of callers that ask one after the other, spread over the time."""
    found: list[float] = []
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    async def call(client: httpx2.AsyncClient, number: int) -> None:
        await asyncio.sleep(ANSWER_SECONDS * number / CALLERS)
        for turn in range(WARM_UP + REQUESTS):
            began = time.perf_counter()
            answer = await client.post(f"{url}/chat/completions", content=build_body(), headers=headers)
            assert answer.status_code == 200, answer.text
            if turn >= WARM_UP:
                found.append(1000 * (time.perf_counter() - began))

    async with httpx2.AsyncClient(timeout=60, trust_env=False) as client:
        await asyncio.gather(*(call(client, number) for number in range(CALLERS)))
    return found


def _measure_overhead() -> list[float]:
    """What the gateway adds to the median of direct calls, of each request, in milliseconds."""
    with run_site() as (url, key, served, _):
        direct = median(asyncio.run(measure_latencies(served, "t")))
        return [each - direct for each in asyncio.run(measure_latencies(url, key))]


def overhead() -> Result:
    return _build_overhead("gateway_overhead", 50, 8.0)


def overhead_p95() -> Result:
    return _build_overhead("gateway_overhead_p95", 95, 25.0)


def _build_overhead(name: str, percentile: int, goal: float) -> Result:
    added = quantiles(_measure_overhead(), n=100)
    return Result(
        benchmark=name,
        value=round(added[percentile - 1], 1),
        unit=f"ms that the gateway adds to a direct call, p{percentile}, {CALLERS} callers",
        goal=goal,
        runs=[round(added[each - 1], 1) for each in (50, 90, 95, 99)],
        note=f"{CALLERS * REQUESTS} requests of {1000 * ANSWER_SECONDS:.0f} ms; runs are p50, p90, p95, p99",
    )


# --- streams -----------------------------------------------------------------------------------------


async def read_stream(url: str, key: str) -> bool:
    """Whether a stream over a connection of its own got all events."""
    host, _, port = url.removeprefix("http://").partition("/")[0].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = build_body(stream=True)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n"
    head += f"content-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    content = await reader.read(-1)
    writer.close()
    return content.count(b'"word "') == EVENTS and b"[DONE]" in content


async def open_streams(url: str, key: str, web: psutil.Process) -> tuple[int, float]:
    """How many streams were whole, and by how many MB the web process grew at most."""
    assert await read_stream(url, key)
    before, most = web.memory_info().rss, 0
    streams = []
    for _ in range(STREAMS):
        streams.append(asyncio.create_task(read_stream(url, key)))
        await asyncio.sleep(0.01)
    while not all(each.done() for each in streams):
        most = max(most, web.memory_info().rss - before)
        await asyncio.sleep(0.2)
    whole = sum([await each for each in streams])
    return whole, most / MIB


def streams() -> Result:
    with run_site() as (url, key, _, web):
        whole, grown = asyncio.run(open_streams(url, key, web))
    assert whole == STREAMS, f"{STREAMS - whole} of {STREAMS} streams were lost"
    return Result(
        benchmark="streams",
        value=round(grown, 1),
        unit=f"MB that the web process grows by with {STREAMS} open streams",
        goal=100.0,
        runs=[round(grown, 1)],
        note=f"none lost; each of {EVENTS} events, one every {EVENT_SECONDS:g} s",
    )
