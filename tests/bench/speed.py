"""Groove against plain TRL on the same work: model, rows, seed, group size and steps are the same.

Loading, evaluation and packaging count on neither side. A pair of runs, one after the other, gives one ratio.
"""

from __future__ import annotations

import json
import tempfile
from bisect import bisect_right
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.jobs import STARTER, Outcome, cores, groove, plain, python, write_spec
from tests.bench.result import Result
from tests.bench.scale import sized

RATIO = "ratio of training wall times, Groove / plain TRL"
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
MEDIUM = sized(
    {"hidden_size": 768, "intermediate_size": 2560, "num_hidden_layers": 14, "num_attention_heads": 12}, TINY
)
SMALL = sized(
    {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 10, "num_attention_heads": 8}, TINY
)
REAL = sized(
    {
        "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True,
    },
    TINY,
)  # fmt: skip
LONG = sized(1024, 128)
SIMILARITY = {
    "type": "text_similarity",
    "input": "{{sample.output_text}}",
    "reference": "{{item.target}}",
    "evaluation_metric": "fuzzy_match",
}


def starter() -> Result:
    """The sample job on the starter model."""
    with tempfile.TemporaryDirectory() as scratch:
        return _race("job_speed_starter", 0.4, sized(3, 1), starter_spec(Path(scratch), sized(30, 2)))


def starter_spec(folder: Path, steps: int) -> Path:
    """The sample job: the starter's own rows and grader, 64 rollouts a step."""
    rows = [json.loads(line) for line in (STARTER / "sample" / "dataset.jsonl").read_text().splitlines()]
    grader = json.loads((STARTER / "sample" / "grader.json").read_text())
    settings = {"learning_rate": 1e-3, "max_completion_length": 48, "max_steps": steps}
    return write_spec(folder, STARTER / "model", rows[:801], grader, checkpoint_every=10, **settings)


def medium() -> Result:
    """A model of about 100 M parameters, prompts of 64 tokens."""
    settings = {"prompts_per_step": 4, "max_completion_length": 64, "max_steps": 3, "checkpoint_every": 3}
    return _random("job_speed_100m", 0.8, MEDIUM, 64, 16, settings)


def long_prompts() -> Result:
    """Prompts of 1,024 tokens with short answers: what is shared is most of the work."""
    settings = {"prompts_per_step": 1, "max_completion_length": 64, "max_steps": 3, "checkpoint_every": 3}
    return _random("long_prompt_speed", 0.25, SMALL, LONG, 4, settings)


def _random(name: str, goal: float, sizes: dict[str, int], prompt: int, rows: int, grpo: Any) -> Result:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        made = padded_rows(prompt, rows + 1)
        spec = write_spec(
            folder, random_model(folder, sizes), made, SIMILARITY, max_prompt_length=prompt, **grpo
        )
        return _race(name, goal, 1, spec)


def _race(name: str, goal: float, runs: int, spec: Path) -> Result:
    ours: list[Outcome] = []
    theirs: list[Outcome] = []
    for number in range(runs):
        theirs.append(plain(spec, spec.parent / f"plain-{number}"))
        ours.append(groove(spec, spec.parent / f"groove-{number}"))
    ratios = [a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True)]
    return Result(
        benchmark=name,
        value=round(median(ratios), 3),
        unit=RATIO,
        goal=goal,
        runs=[round(ratio, 3) for ratio in ratios],
        note=f"{cores()} threads; median {median(a.seconds for a in ours):.1f} s "
        f"against {median(b.seconds for b in theirs):.1f} s; mean reward of the last steps "
        f"{median(a.reward for a in ours):.3f} against {median(b.reward for b in theirs):.3f}",
    )


def random_model(folder: Path, sizes: dict[str, int]) -> Path:
    """A Qwen3 with random weights and the starter's tokenizer."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(STARTER / "model")
    heads = sizes["num_attention_heads"]
    usual = {"vocab_size": len(tokenizer), "num_key_value_heads": heads // 2, "head_dim": 64}
    config = Qwen3Config(
        max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id,
        **usual | sizes,  # type: ignore[arg-type]
    )
    model = folder / "model"
    Qwen3ForCausalLM(config).save_pretrained(model)
    tokenizer.save_pretrained(model)
    return model


def padded_rows(tokens: int, count: int) -> list[dict[str, Any]]:
    """Rows of real text whose prompts have as many tokens, within a few."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(STARTER / "model")
    lines = (STARTER / "sample" / "dataset.jsonl").read_text().splitlines()
    words = [word for line in lines for word in json.loads(line)["messages"][-1]["content"].split()]

    def row(start: int, length: int) -> dict[str, Any]:
        text = " ".join(words[start : start + length])
        return {"messages": [{"role": "user", "content": text}], "target": text[:40]}

    def size(row: dict[str, Any]) -> int:
        encoded = tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, return_dict=True)
        return len(encoded["input_ids"])

    rows = []
    for number in range(count):
        start = number * tokens
        lengths = range(1, tokens + 1)
        rows.append(row(start, bisect_right(lengths, tokens, key=lambda n: size(row(start, n)))))
    return rows


def rollouts() -> Result:
    """Tokens a second on the starter model: the engine's sampler against ``generate`` as TRL calls it."""
    said = python("tests.bench.probes.rollout_probe", str(sized(9, 1)), str(sized(3, 1)))
    pairs = [json.loads(line) for line in said.splitlines()]
    ratios = [pair["decode"] / pair["generate"] for pair in pairs]
    return Result(
        benchmark="rollout_speed",
        value=round(median(ratios), 2),
        unit="tokens a second, ratio to model.generate as TRL calls it",
        goal=3.0,
        at_least=True,
        runs=[round(ratio, 2) for ratio in ratios],
        note=f"64 rollouts of the starter model, {cores()} threads; medians "
        f"{median(pair['decode'] for pair in pairs):.0f} against "
        f"{median(pair['generate'] for pair in pairs):.0f} tokens a second; "
        f"ratios from {min(ratios):.2f} to {max(ratios):.2f}",
    )


def memory() -> Result:
    """The estimate made before a job against the peak of its process, on four shapes of job."""
    errors, notes = [], []
    for name, sizes, prompt, settings in (
        ("36 M, prompts of 1,024", SMALL, LONG, {"prompts_per_step": 1}),
        ("107 M, prompts of 64", MEDIUM, 64, {"prompts_per_step": 4}),
        ("141 M, vocabulary of 49,152, prompts of 512", REAL, sized(512, 128), {"prompts_per_step": 1}),
        ("36 M, prompts of 256", SMALL, 256, {"prompts_per_step": 4}),
    ):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            grpo: Any = {"max_prompt_length": prompt, "max_completion_length": 64, "max_steps": 2, **settings}
            model, rows = random_model(folder, sizes), padded_rows(prompt, 9)
            spec = write_spec(folder, model, rows, SIMILARITY, checkpoint_every=2, **grpo)
            said = json.loads(
                python("tests.bench.probes.memory_probe", spec, folder / "out").splitlines()[-1]
            )
        errors.append(abs(said["estimated"] - said["measured"]) / said["measured"])
        notes.append(f"{name}: {said['estimated'] / 2**20:.0f} MiB, measured {said['measured'] / 2**20:.0f}")
    return Result(
        benchmark="memory_estimate_error",
        value=round(max(errors), 3),
        unit="largest relative difference of the estimate from the measured peak",
        goal=0.15,
        runs=[round(error, 3) for error in errors],
        note="; ".join(notes),
    )


def events() -> Result:
    """Metrics, rollouts, alarms and events of the sample job, as a share of its training."""
    with tempfile.TemporaryDirectory() as scratch:
        spec = starter_spec(Path(scratch), sized(30, 2))
        said = json.loads(
            python("tests.bench.probes.event_probe", spec, Path(scratch) / "out").splitlines()[-1]
        )
    share = said["telling"] / said["training"]
    return Result(
        benchmark="event_overhead",
        value=round(share, 4),
        unit="share of training's wall time",
        goal=0.02,
        runs=[round(share, 4)],
        note=f"64 rollouts a step; measuring the KL to the base takes another "
        f"{said['measuring'] / said['training']:.3f}",
    )
