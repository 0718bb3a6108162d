"""An Ollama Modelfile begins a conversation as the model's own chat template does."""

from __future__ import annotations

import pytest

from tests.workers.engine.test_rendering import bundled, renderer
from workers.contract.base_models import chat_templates
from workers.engine.export.ollama import CHATML, LLAMA_3, translate

DEFAULT = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."


def test_the_default_system_message_of_a_template_is_kept() -> None:
    """Qwen2.5's template adds a default system message, which Ollama would leave out."""
    found = translate(bundled("qwen2_5"))
    assert found is not None
    assert (found.template, found.system) == (CHATML.template, DEFAULT)


def test_a_template_without_one_has_none() -> None:
    made = renderer(chat_templates.LLAMA_3)
    made.tokenizer.bos_token = "<|begin_of_text|>"
    found = translate(made)
    assert found is not None
    assert (found.template, found.system) == (LLAMA_3.template, "")


def test_thoughts_that_the_template_opens_are_opened_in_ollama() -> None:
    found = translate(bundled("qwen3_5_think"))
    assert found is not None
    assert (found.template, found.system) == (CHATML.template + "<think>\n", "")
    made = bundled("qwen3_instruct_2507")
    made.tokenizer.chat_template += "{% if add_generation_prompt %}<think>\n{% endif %}"  # type: ignore[operator]
    found = translate(made)
    assert found is not None
    assert found.template == CHATML.template + "<think>\n"


@pytest.mark.parametrize("name", ["gemma3", "phi3", "llama3_1", "deepseekv3"])
def test_what_cannot_be_said_to_the_letter_is_not_translated(name: str) -> None:
    assert translate(bundled(name)) is None
