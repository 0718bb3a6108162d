"""Code that uses a key: a curl line, and OpenAI's SDK."""

from __future__ import annotations

from dataclasses import dataclass

SDK = """\
from openai import OpenAI

client = OpenAI(base_url="{base_url}", api_key="{secret}")
for model in client.models.list():
    print(model.id)
"""


@dataclass(frozen=True)
class KeyExamples:
    """Code that lists the team's models."""

    curl: str
    sdk: str


def build_examples(base_url: str, secret: str) -> KeyExamples:
    """Return code for this site and key. ``base_url`` ends in ``/v1``."""
    curl = f'curl {base_url}/models -H "Authorization: Bearer {secret}"'
    return KeyExamples(curl, SDK.format(base_url=base_url, secret=secret))
