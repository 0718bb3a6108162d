"""The same turns give the same tokens, mask, log-probabilities, loss and gradients as in TRL's tool loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import GRPOTrainer

from tests.workers.engine_jobs import small_spec
from tests.workers.tool_models import Counter, InProcess, qwen_model, qwen_tokenizer
from workers.contract.environments import EpisodeSettings
from workers.contract.spec import BaseModelRef, ChatSettings, JobSpec
from workers.engine.base_model.models import Base
from workers.engine.episodes import player as playing
from workers.engine.episodes.player import Player
from workers.engine.episodes.writers import TurnSampling
from workers.engine.fast.sessions import WrittenTurn
from workers.engine.memory import MemoryPlan
from workers.engine.prompts.data import Row
from workers.engine.sampling.backends import GENERATE, Backend
from workers.engine.training.grpo import Rft, grpo_config, lora_config
from workers.engine.training.interface import TrainContext
from workers.engine.training.rollouts.recorder import Recorder
from workers.engine.training.trainer import MeasuringTrainer
from workers.grading import open_grader, validate

EOS = qwen_tokenizer().eos_token_id
GOALS, EACH = [3, 5], 4
ARGUMENTS: dict[str, Any] = {"enable_thinking": False}


class Clear(Counter):
    """A counter without marks in its observations, which TRL would read as control tokens."""

    close = None

    def add(self, number: int) -> str:
        """Add to the counter.

        Args:
            number: what to add.
        """
        return super().add(number).split(" <")[0]


def call(number: object) -> str:
    return f'<tool_call>\n{{"name": "add", "arguments": {{"number": {number}}}}}\n</tool_call>'


FIRST = [call(3), call(1), "No.", f"{call(2)}\n{call(3)}"]


def next_turn(index: int, before: str) -> list[int]:
    """The turn that any rollout writes after the same text."""
    observed = before.count("<tool_response>")
    second = "A longer answer." if "It is 3" in before else call(4)
    text = FIRST[index % EACH] if not observed else second if observed == 1 else "Done."
    return [*qwen_tokenizer()(text, add_special_tokens=False)["input_ids"], EOS]


class Script:
    gives_logps = True

    def write(self, episodes: Any) -> list[WrittenTurn]:
        whole = [qwen_tokenizer().decode(e.prompt + e.ids + e.added) for e in episodes]
        turns = [next_turn(index, text) for index, text in enumerate(whole)]
        return [WrittenTurn(ids, [-1.0] * len(ids)) for ids in turns]


class ScriptedTrl(GRPOTrainer):  # type: ignore[misc]
    def _generate_single_turn(self, prompt_ids: Any, *_: Any, **__: Any) -> Any:
        ids = [next_turn(i, qwen_tokenizer().decode(prompt)) for i, prompt in enumerate(prompt_ids)]
        return ids, [[-1.0] * len(row) for row in ids]


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    made = small_spec(tmp_path, tmp_path)
    made["grpo"] |= {"group_size": EACH, "prompts_per_step": len(GOALS), "max_completion_length": 500}
    return JobSpec.model_validate(made)


def build_ours(spec: JobSpec, tmp_path: Path, grade: Any) -> MeasuringTrainer:
    chat = ChatSettings(template_arguments=ARGUMENTS)
    base = Base(BaseModelRef(id="t"), tmp_path, None, qwen_model(), qwen_tokenizer(), [EOS], chat)
    backend = InProcess(Clear)
    rows = [
        Row(
            f"goal-{goal}",
            [{"role": "system", "content": "Count."}, {"role": "user", "content": f"Count to {goal}."}],
            {"goal": goal},
            tools=backend.list_tools(),
        )
        for goal in GOALS
    ]
    player = Player.create(
        {"": backend},
        TurnSampling(base.renderer, 1.0, [EOS]),
        EpisodeSettings(),
        spec.grpo.max_completion_length,
    )
    recorder = Recorder(rows, grade, base.renderer, [EOS])
    plan = MemoryPlan(1500, False)  # several passes, unlike TRL
    context = TrainContext(tmp_path, base, recorder, 1, plan, lambda _: None, player=player)
    return Rft(spec, tmp_path).build_trainer(context)


def build_trls(spec: JobSpec, tmp_path: Path) -> GRPOTrainer:
    args = grpo_config(spec, tmp_path, 1, MemoryPlan(10_000, False), Backend(GENERATE))
    args.chat_template_kwargs = ARGUMENTS
    prompt = [{"role": "system", "content": "Count."}, {"role": "user", "content": ""}]
    model = qwen_model()
    return ScriptedTrl(
        model=model,
        args=args,
        train_dataset=Dataset.from_list([{"prompt": prompt, "goal": goal} for goal in GOALS]),
        processing_class=qwen_tokenizer(),
        peft_config=lora_config(spec, model),
        environment_factory=Clear,
    )


def describe_step(trainer: Any) -> dict[str, Any]:
    """Generate and score one step's rollouts, and form the gradients of their loss."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    torch.manual_seed(1)  # equal adapters
    for name, each in sorted(trainer.model.named_parameters()):
        if "lora_" in name:
            torch.nn.init.normal_(each, std=0.1)
    rows = [trainer.train_dataset[index] for index in range(len(GOALS)) for _ in range(EACH)]
    batch = trainer._generate_and_score_completions(rows)
    loss = trainer._compute_loss(trainer.model, batch)
    if not isinstance(trainer, MeasuringTrainer):
        loss.backward()
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    with torch.no_grad():
        logps, *_ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, batch["completion_ids"].size(1)
        )
    own = batch["completion_mask"] * batch["tool_mask"]
    grads = {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}
    return batch | {"own": own, "logps": logps * own, "loss": loss.detach(), "grads": grads}


def test_scripted_turns_train_exactly_as_in_trls_tool_loop(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(playing, "open_writer", lambda *_: Script())
    theirs = describe_step(build_trls(spec, tmp_path))
    with open_grader(validate({"type": "environment"})) as grade:
        trainer = build_ours(spec, tmp_path, grade)
        ours = describe_step(trainer)
    for name in (
        "prompt_ids",
        "prompt_mask",
        "completion_ids",
        "completion_mask",
        "own",
        "num_items_in_batch",
    ):
        assert torch.equal(ours[name], theirs[name]), name
    assert ours["num_items_in_batch"] == theirs["num_items_in_batch"] == ours["own"].sum()
    assert 0 < ours["own"].sum() < ours["completion_mask"].sum()
    assert torch.allclose(ours["advantages"], theirs["advantages"])
    assert len(set(ours["advantages"].tolist())) > 2
    assert torch.equal(ours["sampling_per_token_logps"], theirs["sampling_per_token_logps"])
    assert torch.allclose(ours["logps"], theirs["logps"], atol=1e-4)
    assert float(ours["loss"]) == pytest.approx(float(theirs["loss"]), rel=1e-4)
    assert ours["grads"].keys() == theirs["grads"].keys()
    for name, gradient in theirs["grads"].items():
        assert torch.allclose(ours["grads"][name], gradient, atol=1e-6, rtol=1e-3), name
    lengths = [rollout.length for rollout in trainer.recorder.rollouts]
    assert lengths == ours["own"].sum(1).tolist()
