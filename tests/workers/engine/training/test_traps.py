"""Known traps of GRPO with LoRA, each with a small real model (sources: the list in docs/engine.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.workers.engine_jobs import (
    events_of,
    of_type,
    rows,
    run_engine,
    small_spec,
    tiny_model,
    tiny_tokenizer,
)
from workers.contract.spec import BaseModelRef, JobSpec
from workers.engine.base_model.models import Base, adapter_sha256, end_tokens, fold_adapter
from workers.engine.fast.decoder import Completions, Decoder
from workers.engine.memory import MemoryPlan
from workers.engine.packaging.verify import completion_logprobs
from workers.engine.prompts.data import Row
from workers.engine.prompts.rendering import Renderer
from workers.engine.sampling.batches import Portion, Sampler
from workers.engine.training.batching import find_first_of_each
from workers.engine.training.grpo import Rft
from workers.engine.training.interface import TrainContext
from workers.engine.training.rollouts.recorder import Recorder
from workers.engine.training.trainer import MeasuringTrainer
from workers.grading import GradeResult

END, TURN = 1, 2
PLAN = MemoryPlan(tokens=4096, gradient_checkpointing=False)


def length_grade(pairs: Sequence[tuple[str, dict[str, Any]]], groups: Any = None) -> list[GradeResult]:
    return [graded(len(text) % 7 / 7) for text, _ in pairs]


def graded(reward: float | None) -> GradeResult:
    error = "python_grader_runtime_error" if reward is None else None
    return GradeResult(reward, {"length": reward}, error, "boom" if error else None, 0.0, "")


@pytest.fixture
def build(tmp_path: Path, model_folder: Path) -> Callable[..., MeasuringTrainer]:
    """A trainer on the tiny model, not yet trained; ``pad`` replaces the tokenizer's pad token."""

    def make(
        grade: Any = length_grade, data: list[Row] | None = None, pad: str | None = None, **grpo: Any
    ) -> MeasuringTrainer:
        values = small_spec(tmp_path, model_folder)
        values["grpo"] |= {"max_steps": 3} | grpo
        spec = JobSpec.model_validate(values)
        data = data or [Row(**row) for row in rows(8)]
        model, tokenizer = tiny_model(), tiny_tokenizer()
        if pad:
            tokenizer.pad_token = pad
        eos_ids = end_tokens(model, tokenizer)
        base = Base(BaseModelRef(id="tests/tiny"), model_folder, None, model, tokenizer, eos_ids)
        recorder = Recorder(data, grade, base.renderer, eos_ids)
        context = TrainContext(tmp_path / "out", base, recorder, 3, PLAN, lambda _: None)
        return Rft(spec, tmp_path).build_trainer(context)

    return make


def generate(trainer: MeasuringTrainer, batch: list[int]) -> dict[str, Any]:
    """One generation of TRL on these rows, in order, before it shuffles."""
    trainer.model.train()
    return trainer._generate_and_score_completions([trainer.train_dataset[index] for index in batch])


def groups_of(trainer: MeasuringTrainer, number: int) -> list[int]:
    return [row for row in range(number) for _ in range(trainer.num_generations)]


def test_with_pad_equal_to_eos_the_end_token_is_still_learnt(build):
    trainer = build(pad="<end>")
    output = generate(trainer, groups_of(trainer, 4))
    ended = [r for r in trainer.recorder.rollouts if not r.truncated and r.length < 8]
    assert ended
    for rollout in ended:
        mask, ids = (output[f"completion_{name}"][rollout.index] for name in ("mask", "ids"))
        assert int(mask.sum()) == rollout.length
        assert int(ids[rollout.length - 1]) in (END, TURN)


def test_answers_that_end_in_a_second_eos_id_are_not_truncated(build):
    """The generation config names <end> and <turn>; the tokenizer knows <end> only."""
    trainer = build()
    output = generate(trainer, groups_of(trainer, 4))
    last = [int(output["completion_ids"][r.index, r.length - 1]) for r in trainer.recorder.rollouts]
    assert TURN in last
    assert [r.truncated for r in trainer.recorder.rollouts] == [token not in (END, TURN) for token in last]
    sampler = Sampler(trainer.recorder.renderer, [END, TURN], 1.0, 8)
    drawn = sampler(trainer.model.get_base_model(), [[5, 6], [7]], 16, seed=0)
    assert any(answer.ids[-1] == TURN for answers in drawn for answer in answers)
    for answer in (answer for answers in drawn for answer in answers):
        assert answer.truncated == (answer.ids[-1] not in (END, TURN))
        assert not {END, TURN} & set(answer.ids[:-1])


def test_groups_are_keyed_by_row_so_equal_prompts_stay_apart(build):
    same = [{"role": "user", "content": "a b"}]
    data = [Row(f"row-{index}", same, {"reward": index}) for index in range(4)]

    def grade(pairs: Any, groups: Any = None) -> list[GradeResult]:
        return [graded((len(text) % 5) / 10 + item["reward"]) for text, item in pairs]

    trainer = build(grade=grade, data=data)
    generate(trainer, groups_of(trainer, 4))
    by_row: dict[str, list[Any]] = {}
    for rollout in trainer.recorder.rollouts:
        by_row.setdefault(rollout.row_id, []).append(rollout)
    assert [len(group) for group in by_row.values()] == [4] * 4
    for group in by_row.values():
        rewards = torch.tensor([rollout.reward for rollout in group])
        expected = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        assert [r.advantage for r in group] == pytest.approx(expected.tolist(), abs=1e-3)


def test_a_group_travels_with_its_rows_through_the_shuffle(build):
    trainer = build()
    trainer.model.train()
    batch = [trainer.train_dataset[index] for index in groups_of(trainer, 4)]
    inputs = trainer._prepare_inputs(batch)
    order = inputs["group"].tolist()
    assert order != sorted(order)
    prompts = {
        group: {tuple(ids) for ids in inputs["prompt_ids"][inputs["group"] == group].tolist()}
        for group in order
    }
    assert [len(found) for found in prompts.values()] == [1] * 4
    assert sorted(order[place] for place in find_first_of_each(order)) == [0, 1, 2, 3]


def test_a_failed_grading_silences_its_group_and_leaves_the_mean(build):
    failing = [Row(row["row_id"], row["messages"], {"fails": n == 1}) for n, row in enumerate(rows(4))]

    def grade(pairs: Any, groups: Any = None) -> list[GradeResult]:
        results = length_grade(pairs)
        first = next(index for index, (_, item) in enumerate(pairs) if item["fails"])
        return [graded(None) if index == first else result for index, result in enumerate(results)]

    trainer = build(grade=grade, data=failing)
    generate(trainer, groups_of(trainer, 4))
    silent = [r for r in trainer.recorder.rollouts if r.row_id == "row-1"]
    others = [r for r in trainer.recorder.rollouts if r.row_id != "row-1"]
    assert [(r.reward, r.advantage) for r in silent] == [(None, 0.0)] * 4
    assert [r.error_class is None for r in silent] == [False, True, True, True]
    assert any(r.advantage for r in others)
    mean = sum(r.reward for r in others) / len(others)
    assert trainer._metrics["train"]["reward"] == [pytest.approx(mean)]
    metrics = trainer.recorder.metrics()
    assert (metrics["grading/missing_share"], metrics["grading/error_share"]) == (4 / 16, 1 / 16)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_log_probabilities_are_those_of_the_temperature_that_is_sampled(build, temperature):
    trainer = build(temperature=temperature)
    prompt, answer = trainer.recorder.renderer.encode([{"role": "user", "content": "a b"}]), [7, 9, END]
    model = trainer.model.eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    expected = (logits / temperature).log_softmax(-1)[range(3), answer].tolist()
    assert trainer.logprobs(prompt, answer) == pytest.approx(expected, abs=1e-5)
    assert completion_logprobs(model, prompt, answer, temperature).tolist() == pytest.approx(
        expected, abs=1e-5
    )


def test_kl_is_measured_against_the_untouched_base_also_with_beta_zero(build):
    trainer = build(max_steps=3, warmup_steps=0, learning_rate=0.05)
    trainer.train()
    generate_inputs = [trainer.train_dataset[index] for index in groups_of(trainer, 4)]
    trainer.model.train()
    inputs = trainer._prepare_inputs(generate_inputs)
    trainer.measured = {}
    trainer.compute_loss(trainer.model, inputs)
    chosen = trainer._kl_rows(inputs)
    assert set(chosen) <= set(find_first_of_each(inputs["group"].tolist()))
    policy, base = [], []
    for index in chosen:
        prompt = inputs["prompt_ids"][index][inputs["prompt_mask"][index].bool()].tolist()
        answer = inputs["completion_ids"][index][inputs["completion_mask"][index].bool()].tolist()
        policy.append(completion_logprobs(trainer.model, prompt, answer, 1.0))
        base.append(completion_logprobs(tiny_model().eval(), prompt, answer, 1.0))
    log_ratio = torch.cat(base) - torch.cat(policy)
    assert trainer.measured["kl_tokens"] == len(log_ratio)
    assert trainer.measured["k1"] == pytest.approx(float(-log_ratio.sum()), abs=1e-4)
    assert trainer.measured["k2"] == pytest.approx(float((log_ratio**2).sum() / 2), abs=1e-4)
    assert trainer.measured["k3"] == pytest.approx(float((log_ratio.exp() - 1 - log_ratio).sum()), abs=1e-4)
    assert trainer.measured["k3"] > 0.01


def test_folding_the_adapter_gives_the_same_model_and_the_same_base_bits_after(build):
    trainer = build(max_steps=3, warmup_steps=0, learning_rate=0.05)
    trainer.train()
    model, ids = trainer.model.eval(), torch.tensor([[5, 6, 7, 8]])
    before = {name: p.clone() for name, p in model.named_parameters()}
    with torch.no_grad():
        beside = model(input_ids=ids).logits
        with fold_adapter(model):
            inside = model.get_base_model()(input_ids=ids).logits
        with model.disable_adapter():
            base = model(input_ids=ids).logits
        assert torch.allclose(beside, inside, atol=1e-5)
        assert not torch.allclose(base, inside, atol=1e-3)
        assert torch.equal(base, tiny_model().eval()(input_ids=ids).logits)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    assert all(p.requires_grad == ("lora_" in name) for name, p in model.named_parameters())


def test_a_job_whose_weights_never_move_is_not_packaged(write_spec, tmp_path):
    """One step of warm-up has learning rate zero: the curves look healthy, nothing was learnt."""
    spec = write_spec(grpo={"max_steps": 1, "warmup_steps": 5})
    assert run_engine("run", spec, "--out", tmp_path / "out") == 1
    events = events_of(tmp_path / "out")
    assert of_type(events, "metrics")[0].values["reward"] > 0
    assert of_type(events, "error")[0].code == "weights_unchanged"
    assert events[-1].outcome == "failed"
    assert not (tmp_path / "out" / "package").exists()


def test_equal_seeds_give_equal_adapters_and_training_changes_them(build):
    first, second = build(warmup_steps=0), build(warmup_steps=0)
    assert adapter_sha256(first.model) == adapter_sha256(second.model)
    first.train()
    assert adapter_sha256(first.model) != adapter_sha256(second.model)


THINKING = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}" + (
    "{% if add_generation_prompt %}[assistant] <think>\n{% endif %}"
)
QWEN_LIKE = (
    "{% for m in messages %}[{{ m.role }}] {% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)


@pytest.mark.parametrize(
    ("template", "expected"), [(THINKING, "<think>\n"), (QWEN_LIKE, ""), (tiny_tokenizer().chat_template, "")]
)
def test_what_a_template_writes_into_the_answer_is_noticed(template, expected):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    assert Renderer(tokenizer).find_generation_prefix([{"role": "user", "content": "a b"}]) == expected


@pytest.mark.parametrize("loss_type", ["dapo", "dr_grpo", "grpo", "bnpo"])
def test_the_gradient_does_not_depend_on_how_a_step_is_divided_into_passes(build, loss_type):
    """Traps of normalising by pass: TRL issue 6024, ms-swift issue 10117; TRL's numbers likewise."""
    results, measured = [], []
    for tokens in (4096, 24):
        trainer = build(loss_type=loss_type, beta=0.1, warmup_steps=0)
        trainer.most_tokens, trainer.current_gradient_accumulation_steps = tokens, 1
        torch.manual_seed(5)
        inputs = trainer._prepare_inputs([trainer.train_dataset[i] for i in groups_of(trainer, 4)])
        passes = trainer._plan_passes(inputs)
        loss = trainer.compute_loss(trainer.model, inputs)
        gradient = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.requires_grad])
        results.append((len(passes), float(loss.detach()), gradient))
        measured.append({name: values[-1] for name, values in trainer._metrics["train"].items()})
    (few, loss, gradient), (many, other_loss, other) = results
    assert few == 1
    assert many > 3
    assert other_loss == pytest.approx(loss, abs=1e-6)
    assert float((gradient - other).norm() / gradient.norm()) < 1e-5
    for name in ("entropy", "kl", "clip_ratio/region_mean"):
        assert measured[1][name] == pytest.approx(measured[0][name], rel=1e-4, abs=1e-7)


def test_a_step_whose_answers_are_all_masked_has_no_entropy(build):
    """An entropy of 0 would be taken for a collapse."""
    trainer = build(mask_truncated_completions=True)
    inputs = trainer._prepare_inputs([trainer.train_dataset[i] for i in groups_of(trainer, 4)])
    inputs["completion_mask"] = torch.zeros_like(inputs["completion_mask"])
    trainer.current_gradient_accumulation_steps = 1
    trainer.compute_loss(trainer.model, inputs)
    assert "entropy" not in trainer._metrics["train"]


def test_sampling_takes_fewer_prompts_at_once_when_memory_runs_out():
    def answer(prompts: list[list[int]]) -> list[Completions]:
        if len(prompts) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [Completions([prompt], [[0.0]]) for prompt in prompts]

    portion = Portion(64)
    prompts = [[number] for number in range(10)]
    assert [drawn.ids[0] for drawn in portion.draw(answer, prompts)] == prompts
    assert portion.prompts == 2


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_when_memory_runs_out_the_step_is_done_again_in_smaller_passes(build, beta):
    """The model refuses passes of more than 60 tokens, as a device that is too small would."""
    calm, small = (build(warmup_steps=0, max_steps=2, beta=beta) for _ in range(2))
    before = {name: value.detach().clone() for name, value in calm.model.named_parameters()}
    told: list[int] = []
    small._report_shrunk = told.append

    def refuse(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs["input_ids"].numel() > 60:
            raise torch.OutOfMemoryError("CUDA out of memory")

    small.model.get_base_model().register_forward_pre_hook(refuse, with_kwargs=True)
    for trainer in (calm, small):
        torch.manual_seed(7)
        trainer.train()
    assert told == sorted(told, reverse=True)
    assert len(told) >= 2
    assert small.most_tokens == told[-1]
    for (name, expected), found in zip(calm.model.named_parameters(), small.model.parameters(), strict=True):
        # Adam divides by a gradient's size: where there is hardly any, rounding alone turns single weights.
        assert (found - expected).norm() <= 0.01 * (expected - before[name]).norm(), name
    assert len(small._metrics["train"]["entropy"]) == 0  # logged and emptied, nothing counted twice


def test_the_share_of_cut_answers_is_always_told_and_masking_takes_them_out_of_the_loss(build):
    for masked in (False, True):
        trainer = build(mask_truncated_completions=masked)
        output = generate(trainer, groups_of(trainer, 4))
        cut = [rollout.truncated for rollout in trainer.recorder.rollouts]
        assert 0 < sum(cut) < len(cut)
        assert trainer.recorder.metrics()["completions/truncated_share"] == sum(cut) / len(cut)
        in_loss = output["completion_mask"].any(dim=1).tolist()
        assert in_loss == [not (masked and truncated) for truncated in cut]


@pytest.mark.parametrize("scaled", ["group", "batch", "none"])
def test_advantages_are_divided_by_what_the_settings_say(build, scaled):
    """Dividing by the group's spread overweights prompts that are nearly solved or nearly hopeless."""
    trainer = build(scale_rewards=scaled)
    generate(trainer, groups_of(trainer, 4))
    rollouts = trainer.recorder.rollouts
    rewards = torch.tensor([rollout.reward for rollout in rollouts]).view(4, -1)
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    divisor = {"group": rewards.std(dim=1, keepdim=True) + 1e-4, "batch": rewards.std() + 1e-4, "none": 1.0}
    expected = (centred / divisor[scaled]).flatten().tolist()
    assert [rollout.advantage for rollout in rollouts] == pytest.approx(expected, abs=1e-3)


def test_what_is_sampled_comes_from_the_adapter_and_has_the_log_probabilities_that_training_gives(build):
    """Off by a sync the sampler would write from other weights than those that learn (TRL issue 2873)."""
    trainer = build(max_steps=4, warmup_steps=0, learning_rate=0.05)
    trainer.train()
    trainer.model.train()
    trainer.measured = {}
    inputs = trainer._prepare_inputs([trainer.train_dataset[i] for i in groups_of(trainer, 4)])
    trainer.compute_loss(trainer.model, inputs)
    assert trainer.measured["gap"] / trainer.measured["sampled_tokens"] < 1e-5
    with trainer.model.disable_adapter(), torch.no_grad():
        base, mask = trainer._base_logps(inputs), inputs["completion_mask"]
    assert float(((base - inputs["sampling_per_token_logps"]).abs() * mask).sum() / mask.sum()) > 0.01


def test_the_tokens_that_are_trained_on_are_those_that_were_sampled(build, monkeypatch):
    """Text that is decoded and encoded again may come back as other tokens (TRL issue 5224)."""
    sampled: list[list[int]] = []
    draw = Decoder.sample

    def remembered(self: Decoder, *args: Any) -> Any:
        drawn = draw(self, *args)
        sampled.extend(ids for answers in drawn for ids in answers.ids)
        return drawn

    monkeypatch.setattr(Decoder, "sample", remembered)
    trainer = build()
    output = generate(trainer, groups_of(trainer, 4))
    trained = [
        ids[mask.bool()].tolist()
        for ids, mask in zip(output["completion_ids"], output["completion_mask"], strict=True)
    ]
    assert trained == sampled
    encoded = [trainer.processing_class(r.completion)["input_ids"] for r in trainer.recorder.rollouts]
    assert encoded != sampled  # end tokens and turns are not in the text: encoding it would lose them
