"""Loads of the model server, in pairs with another way to generate the same.

``python -m tests.bench.probes.serve_probe WHAT PAIRS ROUNDS REQUESTS TOKENS ADAPTERS STREAMS ANSWERS``

WHAT is ``sampler``, ``generate``, ``adapters`` or ``streams``. Both sides are warmed up and take turns in
going first. The end token is banned, so that every completion has its full length.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from tests.bench.jobs import STARTER, cores
from tests.bench.probes.rollout_probe import starter_with_adapter
from workers.contract.spec import BaseModelRef
from workers.engine.base_model.models import Base, load
from workers.engine.fast.architecture import describe
from workers.engine.fast.decoder import Decoder

PATH = STARTER / "model"
ALONE = 8  # prompts that ``generate`` completes one by one; it takes too long for all


@dataclass(frozen=True)
class Load:
    """Sizes of a measurement, from the command line."""

    pairs: int
    rounds: int
    requests: int
    tokens: int
    adapters: int
    streams: int
    answers: int


class Client:
    """Bare HTTP over one connection for each request: it takes little of the server's processor."""

    def __init__(self, port: int, tokens: int, end: int) -> None:
        self._port, self._tokens, self._end = port, tokens, end
        lines = (STARTER / "sample" / "dataset.jsonl").read_text().splitlines()
        self.messages = [json.loads(line)["messages"] for line in lines[:800]]

    def post(self, path: str, body: Any) -> None:
        asyncio.run(self._post(path, body))

    async def _post(self, path: str, body: Any) -> bytes:
        reader, writer = await self._send(path, body)
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200"), answer[:500]
        return answer

    async def _send(self, path: str, body: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        content = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        return reader, writer

    def _build(self, number: int, model: str, **options: Any) -> Any:
        messages = self.messages[number % len(self.messages)]
        bias = {str(self._end): -100}
        asked = {"model": model, "messages": messages, "max_tokens": self._tokens, "logit_bias": bias}
        return {**asked, "seed": number, **options}

    def complete(self, requests: int, models: list[str]) -> int:
        """Ask everything at once; return the number of generated tokens."""

        async def ask_all() -> list[bytes]:
            asked = [self._build(number, models[number % len(models)]) for number in range(requests)]
            return await asyncio.gather(*(self._post("/v1/chat/completions", each) for each in asked))

        answers = asyncio.run(ask_all())
        return sum(json.loads(a.split(b"\r\n\r\n", 1)[1])["usage"]["completion_tokens"] for a in answers)

    def time_streams(self, streams: int, answers: int) -> list[float]:
        """Milliseconds until the first text of each answer; every stream opens the next when it ends."""

        async def follow(number: int) -> list[float]:
            return [await self._time_first(number * answers + each) for each in range(answers)]

        async def follow_all() -> list[list[float]]:
            return await asyncio.gather(*(follow(number) for number in range(streams)))

        return [each for own in asyncio.run(follow_all()) for each in own]

    async def _time_first(self, number: int) -> float:
        began, first = time.perf_counter(), None
        reader, writer = await self._send("/v1/chat/completions", self._build(number, "starter", stream=True))
        while line := await reader.readline():
            if first is None and b'"content":"' in line and b'"content":""' not in line:
                first = time.perf_counter()
        writer.close()
        assert first is not None
        return 1000 * (first - began)


@contextmanager
def start_server(load_sizes: Load, end: int) -> Iterator[Client]:
    """Run the server in a process of its own, with as many threads as the other side."""
    arguments = ["--model", str(PATH), "--name", "starter", "--threads", str(cores())]
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.serve", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield Client(json.loads(process.stdout.readline())["port"], load_sizes.tokens, end)
    finally:
        process.kill()
        process.wait()


def main(what: str, sizes: Load) -> None:
    """Print a line of JSON for every pair, tokens a second, or for every stream, milliseconds."""
    torch.set_num_threads(cores())
    base = load(BaseModelRef(id="groove/starter", path=str(PATH.resolve())), Path(), torch.device("cpu"))
    with start_server(sizes, base.eos_ids[0]) as client, tempfile.TemporaryDirectory() as folder:
        client.complete(sizes.requests, ["starter"])
        if what == "streams":
            for milliseconds in client.time_streams(sizes.streams, sizes.answers):
                print(json.dumps({"milliseconds": milliseconds}), flush=True)
        elif what == "adapters":
            names = load_adapters(client, Path(folder), sizes.adapters)
            sides = {
                "served": lambda: client.complete(sizes.requests, names),
                "one": lambda: client.complete(sizes.requests, names[:1]),
            }
            race(sides, sizes)
        else:
            race(
                {
                    "served": lambda: client.complete(sizes.requests, ["starter"]),
                    what: build_other(what, base, client, sizes),
                },
                sizes,
            )


def build_other(what: str, base: Base, client: Client, sizes: Load) -> Callable[[], int]:
    """Return the other side of a pair: it returns the number of generated tokens."""
    prompts = [base.renderer.encode(messages) for messages in client.messages[: sizes.requests]]
    decoder = Decoder(describe(base.model))
    config = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, max_new_tokens=sizes.tokens, eos_token_id=None,
        pad_token_id=base.tokenizer.pad_token_id, disable_compile=True,
    )  # fmt: skip

    def sample() -> int:
        drawn = decoder.sample(prompts, 1, sizes.tokens, 1.0, [])
        return sum(len(ids) for each in drawn for ids in each.ids)

    def generate() -> int:
        with torch.inference_mode():
            for prompt in prompts[:ALONE]:
                ids = torch.tensor([prompt])
                base.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
        return sizes.tokens * len(prompts[:ALONE])

    return sample if what == "sampler" else generate


def load_adapters(client: Client, folder: Path, count: int) -> list[str]:
    """Load adapters with random weights, and return their names."""
    _, tuned, _ = starter_with_adapter()
    for number in range(count):
        torch.manual_seed(number)
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.data.normal_(std=0.01)
        path = folder / str(number)
        tuned.save_pretrained(path)
        client.post("/v1/load_lora_adapter", {"lora_name": f"tuned-{number}", "lora_path": str(path)})
    return [f"tuned-{number}" for number in range(count)]


def race(sides: dict[str, Callable[[], int]], sizes: Load) -> None:
    """Print tokens a second of both sides for every pair."""
    for side in sides.values():
        side()
    for pair in range(sizes.pairs):
        rates = {}
        for name in sides if pair % 2 else reversed(sides):
            began = time.perf_counter()
            tokens = sum(sides[name]() for _ in range(sizes.rounds))
            rates[name] = tokens / (time.perf_counter() - began)
        print(json.dumps(rates), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Load(*map(int, sys.argv[2:])))
