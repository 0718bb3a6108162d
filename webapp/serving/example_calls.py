"""Commands that call a model by API, as its page shows them."""

from __future__ import annotations

import json

CURL = """curl {url}/chat/completions \\
  -H "Authorization: Bearer $OPENAI_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{body}'"""
PYTHON = """from openai import OpenAI

client = OpenAI(base_url="{url}")  # the key: OPENAI_API_KEY
answer = client.chat.completions.create(
    model={model},
    messages=[{{"role": "user", "content": "Your prompt"}}],
)
print(answer.choices[0].message.content)"""


def write_calls(url: str, model: str) -> dict[str, str]:
    """Return the commands that ask a model, for a shell and for Python."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Your prompt"}]})
    return {
        "curl": CURL.format(url=url, body=body.replace("'", "'\\''")),
        "python": PYTHON.format(url=url, model=json.dumps(model)),
    }
