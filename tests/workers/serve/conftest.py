"""The model server in a process of its own, with the real starter model and adapters, behind real HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "workers" / "starter" / "model"
TOKEN = "token-of-the-test"
QUEUE = 64
ADAPTERS = 3
QUESTION = (
    "Route this ticket: queue and priority as JSON.\n"
    "Customer Carla from Vireo disputes a late fee during month end and has a workaround."
)
# Without tools the prompt is that of the model's own template.
TEMPLATE = """{% if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}{% for m in messages %}<|im_start|>{{ m['role'] }}
{{ m['content'] or '' }}{% for call in m.tool_calls or [] %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@dataclass(frozen=True)
class Served:
    """A running server: its process, the end of its lifeline and a client."""

    process: subprocess.Popen[bytes]
    lifeline: int
    url: str
    client: openai.OpenAI

    def ask(self, text: str = QUESTION, **options: Any) -> ChatCompletion:
        messages: Any = [{"role": "user", "content": text}]
        return self.client.chat.completions.create(**{"model": "starter", "messages": messages, **options})

    def post(self, path: str, body: Any) -> Any:
        return self.client.post(path, body=body, cast_to=object)

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as answer:
            return dict(json.load(answer))


@contextmanager
def start_server(folder: Path) -> Iterator[Served]:
    lifeline, held = os.pipe()
    token, written = os.pipe()
    os.write(written, TOKEN.encode())
    os.close(written)
    rendering = folder / "rendering.json"
    rendering.write_text(json.dumps({"chat_template": TEMPLATE}))
    arguments = ["--model", MODEL, "--name", "starter", "--threads", "1", "--queue", QUEUE]
    options = ["--adapters", ADAPTERS, "--rendering", rendering]
    descriptors = ["--token-fd", token, "--lifeline", lifeline]
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.serve", *map(str, [*arguments, *options, *descriptors])],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        pass_fds=[token, lifeline],
    )
    os.close(lifeline)
    os.close(token)
    assert process.stdout is not None
    try:
        url = f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=TOKEN, max_retries=0, timeout=30)
        yield Served(process, held, url, client)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with start_server(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.fixture(scope="package")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of adapters of the starter model, as PEFT saves them, of different shapes."""
    import torch
    from transformers import AutoModelForCausalLM

    from tests.workers.serve.adapter_files import save_adapter

    folder = tmp_path_factory.mktemp("tuned")
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    shapes: list[dict[str, Any]] = [
        {"r": 8, "target_modules": "all-linear"},
        {"r": 4, "target_modules": ["q_proj", "down_proj"], "use_rslora": True},
        {"r": 2, "target_modules": ["v_proj"], "layers_to_transform": [1]},
        {"r": 8, "target_modules": "all-linear"},
    ]
    return [
        save_adapter(model, folder / f"tuned-{number}", number, **shape)
        for number, shape in enumerate(shapes)
    ]
