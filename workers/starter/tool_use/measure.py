"""Measures a model on the refund desk: ``python -m workers.starter.tool_use.measure [MODEL]``.

Plays held-out tasks at temperature 1 and prints one JSON object: mean reward, pass@1 and pass@8 of all tasks
and of each outcome, the share of turns that are valid calls, and calls an episode.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from workers.environments.built_in.refund_desk import RefundDesk
from workers.starter.measure import load, summarise
from workers.starter.tool_use.pretrain import PINNED, TOOLS, list_tools, write_result

CALL = re.compile(r"<tool_call>\n(\{.*\})\n</tool_call>", re.DOTALL)
MAX_TURN_TOKENS = 24
MAX_TURNS = 11
EPISODES_AT_ONCE = 256


@dataclass
class Episode:
    """A case in progress; ``tokens`` are all that the model has read and written."""

    case: RefundDesk
    tokens: list[int]
    valid: int = 0
    turns: int = 0
    over: bool = False
    log: list[str] = field(default_factory=list)


def begin(tokenizer: Any, task: dict[str, Any]) -> Episode:
    """Begin an episode with the prompt that the chat template renders."""
    case = RefundDesk()
    messages = [
        {"role": "system", "content": case.system_prompt},
        {"role": "user", "content": case.reset(**task)},
    ]
    prompt = tokenizer.apply_chat_template(
        messages, tools=list_tools(), add_generation_prompt=True, return_dict=False
    )
    return Episode(case, list(prompt))


def play(tokenizer: Any, model: Any, tasks: list[dict[str, Any]]) -> list[Episode]:
    """Play one episode a task, all at once."""
    episodes = [begin(tokenizer, task) for task in tasks]
    for _ in range(MAX_TURNS):
        if open_ones := [episode for episode in episodes if not episode.over]:
            for episode, ids in zip(open_ones, _generate(tokenizer, model, open_ones), strict=True):
                _take_turn(tokenizer, episode, ids)
    return episodes


@torch.no_grad()
def _generate(tokenizer: Any, model: Any, episodes: list[Episode]) -> list[list[int]]:
    """Sample a turn for each episode, up to and with its end token."""
    inputs = tokenizer.pad({"input_ids": [episode.tokens for episode in episodes]}, return_tensors="pt")
    generated = model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=MAX_TURN_TOKENS,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
    )
    turns = generated[:, inputs["input_ids"].shape[1] :].tolist()
    end = tokenizer.eos_token_id
    return [ids[: ids.index(end) + 1] if end in ids else ids for ids in turns]


def _take_turn(tokenizer: Any, episode: Episode, ids: list[int]) -> None:
    """Make the call that a turn holds; a turn without a valid one ends the episode."""
    text = tokenizer.decode(ids, skip_special_tokens=True)
    episode.turns, episode.tokens = episode.turns + 1, episode.tokens + ids
    call = read_call(text)
    if call is None or ids[-1] != tokenizer.eos_token_id:
        episode.log.append(text)
        episode.over = True
        return
    episode.valid += 1
    name, arguments = call
    try:
        result = str(getattr(episode.case, name)(**arguments))
    except (TypeError, ValueError) as error:
        result = f"Error: {error}"
    episode.log.append(f"{name} {arguments} -> {result}")
    episode.tokens += tokenizer(write_result(result))["input_ids"]
    episode.over = episode.case._finished()


def read_call(text: str) -> tuple[str, dict[str, Any]] | None:
    """Return the call of a turn; None for anything else."""
    found = CALL.fullmatch(text)
    try:
        call: dict[str, Any] = json.loads(found[1]) if found else {}
    except ValueError:
        return None
    name, arguments = call.get("name"), call.get("arguments")
    return (name, arguments) if name in TOOLS and isinstance(arguments, dict) else None


def measure(
    tokenizer: Any, model: Any, tasks: list[dict[str, Any]], samples: int, k: int = 8
) -> dict[str, dict[str, float]]:
    """Play each task ``samples`` times; summarise rewards over all tasks and by outcome."""
    repeated = [task for task in tasks for _ in range(samples)]
    episodes = [
        episode
        for start in range(0, len(repeated), EPISODES_AT_ONCE)
        for episode in play(tokenizer, model, repeated[start : start + EPISODES_AT_ONCE])
    ]
    rewards = [episode.case.get_reward() for episode in episodes]
    groups = [rewards[start : start + samples] for start in range(0, len(rewards), samples)]
    report = {"all": summarise(groups, k)}
    for outcome in sorted({task["outcome"] for task in tasks}):
        own = [group for task, group in zip(tasks, groups, strict=True) if task["outcome"] == outcome]
        report[outcome] = summarise(own, k)
    turns = sum(episode.turns for episode in episodes)
    report["all"]["valid_calls"] = round(sum(episode.valid for episode in episodes) / turns, 4)
    report["all"]["turns"] = round(turns / len(episodes), 2)
    return report


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=PINNED)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--tasks", type=int, default=96)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(2)
    tokenizer, model = load(arguments.model, arguments.adapter)
    tasks = RefundDesk.list_tasks("test")[: arguments.tasks]
    print(json.dumps(measure(tokenizer, model, tasks, arguments.samples)))


if __name__ == "__main__":
    main()
