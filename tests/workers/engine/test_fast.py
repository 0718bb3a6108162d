"""The fast path computes exactly what the plain one does, or is not taken."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from tests.workers.engine_jobs import events_of, of_type, run_engine
from tests.workers.small_models import (
    FAMILIES,
    TEMPERATURE,
    gradients,
    once_a_group,
    plain,
    ragged,
    tuned,
)
from workers.engine.fast import decoder, lora
from workers.engine.fast.architecture import describe, is_known
from workers.engine.fast.decoder import Decoder
from workers.engine.fast.sessions import Sessions
from workers.engine.sampling.batches import plan_portions
from workers.engine.training.batching import loss_weight, plan_passes

ENDS = list(range(1, 12))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_computed_once_gives_the_loss_and_gradients_of_one_computed_for_every_row(family):
    model, batch = tuned(family), ragged()
    results = {}
    for name, compute in {"plain": plain, "shared": once_a_group}.items():
        if name == "shared":
            assert lora.speed_up(model) == 7 * 4
        logps, entropies = compute(model, batch)
        loss = (batch.advantages * logps * batch.mask).sum() + (entropies * batch.mask).sum()
        results[name] = (logps * batch.mask, float(loss), gradients(model, loss))
    (logps, loss, gradient), (other_logps, other_loss, other) = results["plain"], results["shared"]
    assert torch.allclose(logps, other_logps, atol=1e-10)
    assert loss == pytest.approx(other_loss, rel=1e-9)
    assert float((gradient - other).norm() / gradient.norm()) < 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_on_a_base_in_16_bits_is_as_near_to_float32_as_pefts(family):
    """Every GPU job: base in bfloat16, adapter and its gradients in float32."""
    batch, found = ragged(), {}
    for name in ("exact", "peft", "fast"):
        model = tuned(family).float()
        for key, each in model.named_parameters():
            if "lora_B" in key:
                each.data *= 0.05  # as after training: a small part of the output
            if name != "exact" and not each.requires_grad:
                each.data = each.data.bfloat16()
        if name == "fast":
            assert lora.speed_up(model) == 7 * 4
        logps, _ = once_a_group(model, batch)
        loss = (batch.advantages.float() * logps.float() * batch.mask).sum()
        found[name] = ((logps.float() * batch.mask).detach(), gradients(model, loss))
        assert found[name][1].dtype == torch.float32
    for part in (0, 1):
        exact, peft, fast = (found[name][part] for name in ("exact", "peft", "fast"))
        assert float((fast - exact).norm()) <= 1.5 * float((peft - exact).norm())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shared_from", [0, 10**6], ids=["keys shared", "keys copied"])
@pytest.mark.parametrize("adapter", ["beside", "off"])
def test_sampled_tokens_have_the_models_own_log_probabilities(family, shared_from, adapter, monkeypatch):
    monkeypatch.setattr(decoder, "SHARED_FROM", shared_from)
    model = tuned(family).float().eval()
    prompts = [list(range(12, 12 + length)) for length in (30, 9, 21)]
    torch.manual_seed(2)
    with model.disable_adapter() if adapter == "off" else torch.no_grad():
        drawn = Decoder(describe(model)).sample(prompts, 6, 20, TEMPERATURE, ENDS)
        lengths = {len(ids) for answers in drawn for ids in answers.ids}
        assert len(lengths) > 3  # rows end at different times, so some are dropped on the way
        for prompt, answers in zip(prompts, drawn, strict=True):
            assert len(answers.ids) == 6
            for ids, logps in zip(answers.ids, answers.logps, strict=True):
                assert not set(ids[:-1]) & set(ENDS)
                assert ids[-1] in ENDS or len(ids) == 20
                with torch.no_grad():
                    logits = model(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
                own = (logits / TEMPERATURE).log_softmax(-1)[range(len(ids)), ids]
                assert logps == pytest.approx(own.tolist(), abs=1e-5)


def test_small_steps_run_on_one_thread_and_prompts_on_all():
    torch.manual_seed(0)
    model, threads = describe(FAMILIES["llama"]()), []

    def embed(ids: torch.Tensor) -> torch.Tensor:
        threads.append(torch.get_num_threads())
        return model.embed(ids)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        Decoder(replace(model, embed=embed)).sample([[12, 30, 7]], 2, 3, 1.0, [1])
        assert (threads, torch.get_num_threads()) == ([2, 1, 1], 2)
    finally:
        torch.set_num_threads(before)


def test_tokens_are_drawn_as_often_as_the_model_says():
    model = tuned("qwen3").float().eval()
    prompt = [20, 21, 22]
    with torch.no_grad():
        expected = (model(input_ids=torch.tensor([prompt])).logits[0, -1] / TEMPERATURE).softmax(-1)
    torch.manual_seed(3)
    (drawn,) = Decoder(describe(model)).sample([prompt], 20_000, 1, TEMPERATURE, ENDS)
    counts = torch.bincount(torch.tensor([ids[0] for ids in drawn.ids]), minlength=60)
    spread = (expected * (1 - expected) / 20_000).sqrt()
    assert bool(((counts / 20_000 - expected).abs() < 5 * spread).all())


def test_an_unknown_architecture_takes_trls_own_way_and_the_log_says_so(write_spec, tmp_path, model_folder):
    torch.manual_seed(0)
    sizes = {"vocab_size": 19, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    model = GPTNeoXForCausalLM(
        GPTNeoXConfig(**sizes, num_attention_heads=2, max_position_embeddings=128, eos_token_id=1)
    )
    assert not is_known(model)
    folder = tmp_path / "neox"
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((model_folder / name).read_bytes())
    spec = write_spec(base_model={"id": "tests/neox", "path": str(folder)}, grpo={"max_steps": 2})
    assert run_engine("run", spec, "--out", tmp_path / "out") == 0
    events = events_of(tmp_path / "out")
    assert any("gpt_neox" in event.message for event in of_type(events, "log"))
    assert [event.step for event in of_type(events, "metrics")] == [1, 2]


# --- passes ----------------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=6), min_size=1, max_size=6),
    st.integers(1, 120),
)
def test_every_row_is_in_one_pass_and_no_pass_is_larger_than_allowed(grouped, most):
    lengths = [length for group in grouped for length in group]
    numbers = iter(range(len(lengths)))
    groups = [[next(numbers) for _ in group] for group in grouped]
    batches = plan_passes(groups, lengths, most)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) * max(lengths[row] for row in batch) <= most or len(batch) == 1


@given(st.integers(1, 20), st.integers(1, 130), st.integers(1, 64))
def test_every_prompt_is_answered_as_often_as_asked(prompts, each, rows):
    answered = [0] * prompts
    for chosen, number in plan_portions(list(range(prompts)), each, rows):
        assert len(chosen) * number <= rows
        for index in chosen:
            answered[index] += number
    assert answered == [each] * prompts


def test_weights_of_passes_make_their_sum_the_loss_of_the_whole():
    assert loss_weight("dapo", 2, 8, 10, 100) == 1
    assert loss_weight("grpo", 2, 8, 10, 100) == loss_weight("dr_grpo", 2, 8, 10, 100) == 0.25
    assert loss_weight("bnpo", 2, 8, 10, 100) == 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_turns_after_added_tokens_have_the_models_own_log_probabilities(family):
    """Rows end at different times within a turn, sessions end for good, and a prompt loses all of its own."""
    model = tuned(family).float().eval()
    prompts = [list(range(12, 12 + length)) for length in (30, 9, 21)]
    generator = torch.Generator().manual_seed(3)
    sequences = [(list(prompt), list[float | None]()) for prompt in prompts for _ in range(6)]
    torch.manual_seed(2)
    with torch.no_grad():
        sessions = Sessions(Decoder(describe(model)), prompts, 6)
        for turn, running in enumerate(([*range(18)], [1, 4, 5, 12, 13, 14, 15, 16, 17], [4, 13, 17])):
            sizes = torch.randint(1, 9, (len(running),), generator=generator).tolist()
            added = [list(range(20, 20 + size)) if turn else [] for size in sizes]
            limits = [3 + size for size in sizes]
            written = sessions.write(running, added, limits, TEMPERATURE, ENDS)
            for session, more, limit, each in zip(running, added, limits, written, strict=True):
                assert len(each.ids) == limit or each.ids[-1] in ENDS
                assert len(each.ids) <= limit
                sequences[session][0].extend([*more, *each.ids])
                sequences[session][1].extend([*[None] * len(more), *each.logps])
        for number, (ids, logps) in enumerate(sequences):
            own = (model(torch.tensor([ids])).logits[0] / TEMPERATURE).log_softmax(-1)
            for at, logp in enumerate(logps, start=len(prompts[number // 6])):
                assert logp is None or logp == pytest.approx(float(own[at - 1, ids[at]]), abs=1e-4)
