"""An adapter of the starter model that changes its answers, as a model of a team."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from openai.types.chat import ChatCompletionMessageParam
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.conftest import ROOT
from webapp.registry.models import BaseModel, TunedModel
from webapp.registry.services import STARTER_PATH, register_model
from webapp.teams.models import Team
from workers.bridge.jobs.files import sha256_of

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Write the date in ISO form."}]
TOKENS = 12


def train_adapter(folder: Path) -> str:
    """Save an adapter of the starter model that changes its answers; return PEFT's greedy answer."""
    torch.manual_seed(1)
    path = ROOT / STARTER_PATH
    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    plain = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    model: Any = get_peft_model(plain, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
    for name, weights in model.named_parameters():
        if "lora_" in name:
            weights.data.normal_(std=0.2)
    model.save_pretrained(folder)
    reloaded: Any = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), folder
    )
    inputs = tokenizer.apply_chat_template(
        MESSAGES, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = reloaded.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
    return str(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


def register_adapter(team: Team, base: BaseModel, folder: Path) -> TunedModel:
    listed: list[Any] = []
    for path in sorted(folder.glob("adapter_*")):
        default_storage.save(f"adapters/test/{path.name}", ContentFile(path.read_bytes()))
        listed.append({"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)})
    return register_model(team, base, "ft:groove/starter:acme:dates:Ab3dE6gh", "adapters/test", listed)
