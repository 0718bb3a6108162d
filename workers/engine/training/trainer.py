"""TRL's GRPOTrainer, faster and measured: each prompt is computed once per group."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from workers.engine import parallel
from workers.engine.base_model.initial_adapter import use_reference
from workers.engine.base_model.models import fold_adapter
from workers.engine.episodes.collection import collect
from workers.engine.episodes.episode import PlayedEpisode
from workers.engine.episodes.player import Player
from workers.engine.fast import lora, shared_prefix
from workers.engine.fast.architecture import describe
from workers.engine.fast.decoder import Completions, Decoder
from workers.engine.memory import MemoryPlan, is_out_of_memory, read_peak, release
from workers.engine.prompts.data import Row
from workers.engine.sampling import scoring
from workers.engine.sampling.batches import Portion
from workers.engine.training.batching import (
    Batch,
    find_first_of_each,
    loss_mask,
    loss_weight,
    merge_values,
    plan_passes,
    select,
)
from workers.engine.training.checkpointing import CheckpointingMixin
from workers.engine.training.device_usage import Usage
from workers.engine.training.rollouts.recorder import Recorder
from workers.engine.training.task_balance import Balance, TaskSampler

KL_SHARE = 0.05  # measuring the KL may add this share of a step's work

PASSES = 3  # work of a step in forward passes: one forward, and a backward that costs two


class EpochSampler(RepeatSampler):  # type: ignore[misc]
    """TRL's sampler, with an order of epoch e that does not depend on earlier epochs.

    TRL draws the orders one after another from one generator, so a resume in a later epoch would repeat the
    order of the first one.
    """

    def set_epoch(self, epoch: int) -> None:
        self.generator.manual_seed(self.seed + epoch)


class MeasuringTrainer(CheckpointingMixin, GRPOTrainer):  # type: ignore[misc]
    """GRPO with TRL's loss and optimiser, but its own passes through the model.

    With ``shares``, prompts are computed once per group; other models sample and score as in TRL.
    ``report_shrunk`` is called with the new tokens of a pass when memory ran out.
    """

    def __init__(
        self,
        *args: Any,
        recorder: Recorder,
        plan: MemoryPlan,
        shares: bool,
        report_shrunk: Callable[[int], None],
        check_stop: Callable[[], None],
        balance: Balance | None = None,
        player: Player | None = None,
        **kwargs: Any,
    ) -> None:
        self.recorder, self.shares, self.balance, self.player = recorder, shares, balance, player
        self.most_tokens, self._report_shrunk, self._check_stop = plan.tokens, report_shrunk, check_stop
        self.measured: dict[str, float] = {}
        self._portion, self._usage = Portion(sys.maxsize), Usage()
        self._scored: torch.Tensor | None = None
        super().__init__(*args, reward_funcs=recorder.grader, **kwargs)
        if player:
            self.rollout_func = self._collect_rollouts
        if shares:
            lora.speed_up(self.model)
        self._adapter_before = self._flatten_adapter()

    def _get_train_sampler(self, dataset: Any = None) -> RepeatSampler:
        args = self.args
        kind = partial(TaskSampler, balance=self.balance) if self.balance else EpochSampler
        return kind(
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=args.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * args.steps_per_generation,
            shuffle=self.shuffle_dataset,
            seed=args.seed,
        )

    # --- rollouts --------------------------------------------------------------------------------

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, Batch]:
        """Return token ids of rendered prompts, encoded as in evaluation and serving; no images."""
        return [self.recorder.renderer.encode_text(prompt) for prompt in prompts], None, {}

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: Any, fields: Any, number: int, *rest: Any
    ) -> Any:
        started = time.perf_counter()
        model = self.accelerator.unwrap_model(self.model)
        with fold_adapter(model):
            if self.shares:
                result = self._decode(model, prompt_ids, number)
            else:
                result = super()._generate_single_turn(prompt_ids, images, fields, number, *rest)
        self._add("time/generation", time.perf_counter() - started)
        return result

    def _decode(
        self, model: Any, prompt_ids: list[list[int]], number: int
    ) -> tuple[list[list[int]], list[list[float]]]:
        prompts = prompt_ids[::number]  # TRL repeats each prompt, once for each of its rollouts
        decoder = Decoder(describe(model))

        def complete(portion: list[list[int]]) -> list[Completions]:
            return decoder.sample(
                portion,
                number,
                self.max_completion_length,
                self.temperature,
                self.eos_token_ids,
                self._check_stop,
            )

        drawn = self._portion.draw(complete, prompts)
        ids = [row for completions in drawn for row in completions.ids]
        return ids, [row for completions in drawn for row in completions.logps]

    def _collect_rollouts(self, prompts: list[str], _: Any) -> dict[str, list[Any] | None]:
        """Play the rows that have an environment, and sample the others as in a job without one."""
        assert self.player is not None, "TRL calls this only in a job with environments"
        prompt_ids, number = self._tokenize_prompts(prompts)[0], self.num_generations

        def sample(ids: list[list[int]]) -> Any:
            return self._generate_single_turn(ids, None, {}, number)

        return collect(self._rows, prompt_ids, number, self.player.plays, self._play, sample)

    def _play(self, rows: list[Row]) -> list[list[PlayedEpisode]]:
        player, model = self.player, self.accelerator.unwrap_model(self.model)
        assert player is not None, "only a job with environments has rows to play"
        started, before = time.perf_counter(), player.seconds

        def play(some: list[Row]) -> list[list[PlayedEpisode]]:
            return player.play(model.get_base_model(), some, self.num_generations)

        with fold_adapter(model):
            played = self._portion.draw(play, rows)
        environment = player.seconds - before
        self._add("time/environment", environment)
        self._add("time/generation", time.perf_counter() - started - environment)
        return played

    def _generate_and_score_completions(self, inputs: Any) -> Batch:
        self._rows = [self.recorder.rows[each["row"]] for each in inputs]
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        own = output["advantages"]
        if self.balance and self.scale_rewards == "batch":
            rows, leads = len(own), parallel.rank() == 0
            balanced = parallel.broadcast(self.recorder.compute_task_advantages() if leads else None)
            own = own.new_tensor(balanced[parallel.rank() * rows : (parallel.rank() + 1) * rows])
            output["advantages"] = own
        everyones = parallel.gather(own.tolist())
        if parallel.rank() == 0:
            self.recorder.set_advantages([value for part in everyones for value in part])
        # TRL shuffles the rows next: the group must be a column to stay with its row.
        output["group"] = torch.arange(len(own), device=own.device) // self.num_generations
        return output

    def _calculate_rewards(
        self, inputs: list[Batch], prompts: Any, completions: Any, completion_ids: list[list[int]]
    ) -> torch.Tensor:
        """Return rewards (rollouts, 1) of all processes, in their order. The leader grades them all."""
        if parallel.size() == 1:
            return torch.as_tensor(super()._calculate_rewards(inputs, prompts, completions, completion_ids))
        own = ([each["row"] for each in inputs], completion_ids, [each.get("episode") for each in inputs])
        rows, ids, episodes = (
            [each for part in parts for each in part] for parts in zip(*parallel.gather(own), strict=True)
        )
        rewards = None
        if parallel.rank() == 0:
            rewards = self.recorder.grader(ids, rows, self.state, episodes)
        known = [torch.nan if reward is None else reward for reward in parallel.broadcast(rewards)]
        return torch.tensor(known, device=self.accelerator.device)[:, None]

    # --- loss ------------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: Batch) -> torch.Tensor:
        """Return the step's loss. The gradients are already formed, pass by pass.

        If memory runs out, the step starts again with passes half as large.
        """
        counts = parallel.gather(float(loss_mask(inputs).sum()))
        mean_tokens = sum(counts) / len(counts)
        while True:
            counted = {name: len(values) for name, values in self._metrics["train"].items()}
            try:
                loss, tokens = self._backward(model, inputs, mean_tokens)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.most_tokens <= 1:
                    raise
                self._restart_step(model, counted)
                continue
            parallel.average([p.grad for p in model.parameters() if p.grad is not None])
            self._merge_passes(counted, tokens)
            self._measure(inputs)
            return loss.requires_grad_()

    def _merge_passes(self, counted: dict[str, int], tokens: list[float]) -> None:
        """Replace what TRL measured in each pass by one value for the step, the mean weighted by tokens.

        TRL counts every pass alike. A step without any token to train on has no such value.
        """
        metrics, own = self._metrics["train"], {}
        for name in list(metrics):
            before = counted.get(name, 0)
            if len(metrics[name][before:]) == len(tokens):
                own[name] = metrics[name][before:]
                del metrics[name][before:]
        parts = parallel.gather((own, tokens))
        weights = [weight for _, part in parts for weight in part]
        for name in own:
            if any(weights):
                metrics[name].append(
                    merge_values(name, [value for part, _ in parts for value in part[name]], weights)
                )
            elif not metrics[name]:
                del metrics[name]

    def _restart_step(self, model: Any, counted: dict[str, int]) -> None:
        model.zero_grad(set_to_none=True)
        for name, values in self._metrics["train"].items():
            del values[counted.get(name, 0) :]
        self._shrink()

    def _shrink(self) -> None:
        release()
        self.most_tokens //= 2
        self._report_shrunk(self.most_tokens)

    def _backward(self, model: Any, inputs: Batch, mean_tokens: float) -> tuple[torch.Tensor, list[float]]:
        """Return this process's share of the step's loss, and the number of tokens in each pass.

        ``mean_tokens`` is the mean over the processes, so that the mean of their losses and of their
        gradients is that of the step.
        """
        # Without the wrapper of DDP, which would need equally many passes in every process.
        model = self.accelerator.unwrap_model(model)
        mask = inputs["completion_mask"]
        self._logps = torch.zeros(mask.shape, device=mask.device)
        batches = self._plan_passes(inputs)
        tokens: list[float] = []
        total = torch.zeros((), device=mask.device)
        for rows in batches:
            self._check_stop()
            part = select(inputs, rows)
            tokens.append(float(loss_mask(part).sum()))
            weight = loss_weight(self.loss_type, len(rows), len(mask), tokens[-1], mean_tokens)
            with parallel.without_gathering(self.accelerator), self._scoring_own(part):
                loss = super()._compute_loss(model, part) * weight
            self._logps[rows, : self._pass_logps.size(1)] = self._pass_logps
            self.accelerator.backward(loss)
            total += loss.detach()
        return total, tokens

    @contextmanager
    def _scoring_own(self, part: Batch) -> Iterator[None]:
        """Score only tokens that the model wrote: those of observations need no pass through the head."""
        mask = loss_mask(part) if "tool_mask" in part else None
        self._scored = mask if mask is not None and bool(mask.any()) else None
        try:
            yield
        finally:
            self._scored = None

    def _plan_passes(self, inputs: Batch) -> list[list[int]]:
        lengths = (inputs["prompt_mask"].sum(1) + inputs["completion_mask"].sum(1)).tolist()
        groups: dict[int, list[int]] = {}
        for row, group in enumerate(inputs["group"].tolist()):
            groups.setdefault(group, []).append(row)
        if not self.shares:
            return plan_passes(list(groups.values()), lengths, self.most_tokens)
        prompts = inputs["prompt_mask"].sum(1).tolist()
        own = [
            length - prompt + prompt // self.num_generations
            for length, prompt in zip(lengths, prompts, strict=True)
        ]
        return plan_passes(list(groups.values()), own, self.most_tokens)

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> Any:
        def run(rows: slice) -> Any:
            ids, mask = input_ids[rows], attention_mask[rows]
            if self.shares:
                own = None if self._scored is None else self._scored[rows]
                return self._shared_logps(model, ids, mask, logits_to_keep, own)
            with self.accelerator.autocast():
                return *scoring.per_token(model, ids, mask, logits_to_keep), None

        if torch.is_grad_enabled():
            result = run(slice(None))
        else:
            result = self._in_parts(run, len(input_ids), input_ids.size(1), logits_to_keep)
        self._pass_logps = result[0].detach()
        return result

    def _in_parts(self, run: Callable[[slice], Any], rows: int, width: int, keep: int) -> Any:
        """Return the result of ``run`` for all rows, in parts of a pass, halved if memory runs out."""
        prompt = (width - keep) / (self.num_generations if self.shares else 1)
        parts: list[Any] = []
        done = 0
        while done < rows:
            together = max(1, int(self.most_tokens / (prompt + keep)))
            try:
                parts.append(run(slice(done, done + together)))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.most_tokens <= 1 or together == 1:
                    raise
                self._shrink()
                continue
            done += together
        return tuple(None if each[0] is None else torch.cat(each) for each in zip(*parts, strict=True))

    def _shared_logps(
        self, model: Any, ids: torch.Tensor, mask: torch.Tensor, keep: int, own: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        prompts, completions = (ids[:, :-keep], mask[:, :-keep]), (ids[:, -keep:], mask[:, -keep:])
        layout = shared_prefix.lay_out(*prompts, *completions, own)
        with self.accelerator.autocast():
            logps, entropies = shared_prefix.per_token(model, layout, completions[1] if own is None else own)
        return logps, entropies, None

    # --- measuring -------------------------------------------------------------------------------

    @torch.no_grad()
    def _measure(self, inputs: Batch) -> None:
        started = time.perf_counter()
        self._measure_kl(inputs)
        sampled = inputs.get("sampling_per_token_logps")
        if sampled is not None:
            mask = loss_mask(inputs)
            self._add("gap", float(((self._logps - sampled).abs() * mask).sum()))
            self._add("sampled_tokens", float(mask.sum()))
        self._sum_measured()
        self._add("time/measuring", time.perf_counter() - started)

    def _sum_measured(self) -> None:
        """Sum what was measured over tokens in all processes; times remain those of this process."""
        parts = parallel.gather({k: v for k, v in self.measured.items() if not k.startswith("time/")})
        if len(parts) > 1:
            for name in {name for part in parts for name in part}:
                self.measured[name] = sum(part.get(name, 0.0) for part in parts)

    def _measure_kl(self, inputs: Batch) -> None:
        """Measure the KL of the policy to the reference on sampled tokens (``docs/metrics.md``).

        k1 = log p - log q, k2 = (log p - log q)^2 / 2 and k3 = q/p - 1 - log(q/p), with p the policy and q
        the reference. If TRL has computed the reference on all rows (beta above 0), that is used; otherwise
        one rollout of some groups is run through the reference.
        """
        logps, mask, base = self._logps, loss_mask(inputs), inputs.get("ref_per_token_logps")
        if base is None:
            rows = self._kl_rows(inputs)
            if not rows:
                return
            logps, mask, base = logps[rows], mask[rows], self._base_logps(select(inputs, rows))
            logps, mask = logps[:, : base.size(1)], mask[:, : base.size(1)]
        log_ratio = (base - logps) * mask
        self._add("kl_tokens", float(mask.sum()))
        self._add("k1", float(-log_ratio.sum()))
        self._add("k2", float((log_ratio**2).sum() / 2))
        self._add("k3", float(((log_ratio.exp() - 1 - log_ratio) * mask).sum()))

    def _kl_rows(self, inputs: Batch) -> list[int]:
        """Return one rollout of as many groups as ``KL_SHARE`` allows.

        If it allows less than one, a step measures one rollout every few steps. That depends on the step's
        number and tokens alone, so a resumed job measures the same.
        """
        rows = find_first_of_each(inputs["group"].tolist())
        lengths = (inputs["prompt_mask"].sum(1) + inputs["completion_mask"].sum(1)).tolist()
        prompts = inputs["prompt_mask"].sum(1).tolist()
        copies = len(rows) if self.shares else len(lengths)
        trained = sum(inputs["completion_mask"].sum(1).tolist()) + sum(prompts) * copies / len(lengths)
        each = sum(lengths[row] for row in rows) / len(rows)
        allowed = KL_SHARE * PASSES * trained / each
        if allowed >= 1:
            return rows[: int(allowed)]
        return rows[:1] if self.state.global_step % round(1 / allowed) == 0 else []

    def _base_logps(self, inputs: Batch) -> torch.Tensor:
        """Return log-probabilities (rows, completion tokens) under the initial adapter or the base."""
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        keep = inputs["completion_ids"].size(1)
        with use_reference(self.accelerator.unwrap_model(self.model)):
            logps, _, _ = self._get_per_token_logps_and_entropies(self.model, ids, mask, keep)
        return torch.as_tensor(logps)

    @torch.no_grad()
    def logprobs(self, prompt_ids: list[int], completion_ids: list[int]) -> list[float]:
        """Return the log-probability that training gives each token of one completion."""
        ids = torch.tensor([prompt_ids + completion_ids], device=self.accelerator.device)
        self.model.eval()
        values, _, _ = self._get_per_token_logps_and_entropies(
            self.model, ids, torch.ones_like(ids), len(completion_ids)
        )
        return [float(value) for value in values[0]]

    def score_pairs(self, pairs: list[tuple[list[int], list[int]]]) -> torch.Tensor:
        """Return log-probabilities, with their gradient, of completions after prompts, given as token ids."""
        device, pad = self.accelerator.device, torch.nn.utils.rnn.pad_sequence
        sides: list[torch.Tensor] = []
        for index, side in ((0, "left"), (1, "right")):
            ids = [torch.tensor(pair[index], device=device) for pair in pairs]
            sides.append(pad(ids, batch_first=True, padding_side=side))
            sides.append(pad([torch.ones_like(row) for row in ids], batch_first=True, padding_side=side))
        prompts, prompt_mask, completions, mask = sides
        logps, _, _ = self._get_per_token_logps_and_entropies(
            self.model,
            torch.cat([prompts, completions], dim=1),
            torch.cat([prompt_mask, mask], dim=1),
            completions.size(1),
        )
        result: torch.Tensor = logps * mask
        return result

    def _add(self, name: str, value: float) -> None:
        self.measured[name] = self.measured.get(name, 0.0) + value

    def _flatten_adapter(self) -> torch.Tensor:
        """Return all trainable numbers in one vector."""
        return torch.cat([p.detach().flatten().float() for p in self.model.parameters() if p.requires_grad])

    def _adapter_change(self) -> float:
        """Return the norm of the adapter's change since the last step."""
        now = self._flatten_adapter()
        change = float((now - self._adapter_before).norm())
        self._adapter_before = now
        return change

    def _load_from_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_checkpoint(*args, **kwargs)
        self._adapter_before = self._flatten_adapter()

    def take_metrics(self, step_time: float) -> dict[str, float]:
        """Return and reset the metrics of the step that just ended (``docs/metrics.md``)."""
        measured, self.measured = self.measured, {}
        generation, grading = measured["time/generation"], self.recorder.grading_seconds
        environment = measured.get("time/environment", 0.0)
        values = {
            **self.recorder.metrics(),
            "adapter/norm_change": self._adapter_change(),
            "time/generation": generation,
            "time/training": step_time - generation - environment - grading - measured["time/measuring"],
            "time/measuring": measured["time/measuring"],
            "tokens_per_second": self.recorder.count_tokens() / step_time,
            **read_peak(),
            **self._usage.take(),
        }
        if self.player:
            values["time/environment"] = environment
        if tokens := measured.get("kl_tokens"):
            values |= {
                "kl_to_base": measured["k3"] / tokens,
                "kl_to_base/k1": measured["k1"] / tokens,
                "kl_to_base/k2": measured["k2"] / tokens,
            }
        if tokens := measured.get("sampled_tokens"):
            values["sampling/logp_gap"] = measured["gap"] / tokens
        return values
