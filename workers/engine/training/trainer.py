"""TRL's GRPOTrainer, faster and with ears: a prompt is computed once a group, and all is measured."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from workers.engine import parallel
from workers.engine.base_model.initial_adapter import reference
from workers.engine.base_model.models import folded
from workers.engine.fast import lora, shared_prefix
from workers.engine.fast.architecture import describe
from workers.engine.fast.decoder import Decoder, Drawn
from workers.engine.memory import MemoryPlan, is_out_of_memory, peak, release
from workers.engine.sampling import scoring
from workers.engine.sampling.batches import Portion
from workers.engine.training.batching import loss_weight, micro_batches
from workers.engine.training.checkpointing import Keeping
from workers.engine.training.device_usage import Usage
from workers.engine.training.rollouts import Recorder
from workers.engine.training.task_balance import Balance, TaskSampler, advantages

KL_SHARE = 0.05  # of a step's work that measuring the KL may add
PASSES = 3  # a step is a forward pass and a backward pass, which costs two


class EpochSampler(RepeatSampler):  # type: ignore[misc]
    """TRL's sampler, but epoch e has its own order whether or not the epochs before were walked.

    TRL draws the orders one after another from one generator, so that a resume in a later epoch would begin
    with the first epoch's order again.
    """

    def set_epoch(self, epoch: int) -> None:
        self.generator.manual_seed(self.seed + epoch)


class MeasuringTrainer(Keeping, GRPOTrainer):  # type: ignore[misc]
    """GRPO with TRL's loss and optimiser, and with our own passes through the model.

    ``shares`` says whether the model is one whose prompts are computed once a group; others take TRL's way.
    """

    def __init__(
        self,
        *args: Any,
        recorder: Recorder,
        plan: MemoryPlan,
        shares: bool,
        shrunk: Callable[[int], None],
        check_stop: Callable[[], None],
        balance: Balance | None = None,
        **kwargs: Any,
    ) -> None:
        self.recorder, self.shares, self.balance = recorder, shares, balance
        self.most_tokens, self._shrunk, self._check_stop = plan.tokens, shrunk, check_stop
        self.measured: dict[str, float] = {}
        self._together, self._usage = Portion(sys.maxsize), Usage()
        super().__init__(*args, reward_funcs=recorder.grader, **kwargs)
        if shares:
            lora.speed_up(self.model)
        self._adapter_before = self._adapter()

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

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Token ids of rendered prompts, as evaluation and serving encode them; no images."""
        return [self.recorder.renderer.encode_text(prompt) for prompt in prompts], None, {}

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: Any, fields: Any, number: int, *rest: Any
    ) -> Any:
        started = time.perf_counter()
        model = self.accelerator.unwrap_model(self.model)
        with folded(model):
            if self.shares:
                result = self._decode(model, prompt_ids, number)
            else:
                result = super()._generate_single_turn(prompt_ids, images, fields, number, *rest)
        self._add("time/generation", time.perf_counter() - started)
        return result

    def _decode(
        self, model: Any, prompt_ids: list[list[int]], number: int
    ) -> tuple[list[list[int]], list[list[float]]]:
        prompts = prompt_ids[::number]  # TRL repeats each prompt as often as it has rollouts
        decoder = Decoder(describe(model))

        def answer(some: list[list[int]]) -> list[Drawn]:
            return decoder.sample(
                some,
                number,
                self.max_completion_length,
                self.temperature,
                self.eos_token_ids,
                self._check_stop,
            )

        drawn = self._together.draw(answer, prompts)
        ids = [row for answers in drawn for row in answers.ids]
        return ids, [row for answers in drawn for row in answers.logps]

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        own = output["advantages"]
        if self.balance and self.scale_rewards == "batch":
            rows, leads = len(own), parallel.rank() == 0
            balanced = parallel.leaders(advantages(*self.recorder.by_task()) if leads else None)
            own = own.new_tensor(balanced[parallel.rank() * rows : (parallel.rank() + 1) * rows])
            output["advantages"] = own
        told = parallel.gathered(own.tolist())
        if parallel.rank() == 0:
            self.recorder.set_advantages([value for part in told for value in part])
        # TRL shuffles the rows next; the group travels with its row.
        output["group"] = torch.arange(len(own), device=own.device) // self.num_generations
        return output

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: Any, completions: Any, completion_ids: list[list[int]]
    ) -> torch.Tensor:
        """Rewards of all processes' rollouts (rollouts, 1), in their order. The leader grades them all."""
        if parallel.size() == 1:
            return torch.as_tensor(super()._calculate_rewards(inputs, prompts, completions, completion_ids))
        parts = parallel.gathered(([each["row"] for each in inputs], completion_ids))
        rewards = None
        if parallel.rank() == 0:
            rewards = self.recorder.grader(
                completion_ids=[ids for _, part in parts for ids in part],
                row=[row for part, _ in parts for row in part],
                trainer_state=self.state,
            )
        known = [torch.nan if reward is None else reward for reward in parallel.leaders(rewards)]
        return torch.tensor(known, device=self.accelerator.device)[:, None]

    # --- loss ------------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """The step's loss, with its gradients formed already, a pass at a time.

        When memory runs out the step begins anew with passes half as large.
        """
        told = parallel.gathered(float(inputs["completion_mask"].sum()))
        of_tokens = sum(told) / len(told)
        while True:
            counted = {name: len(values) for name, values in self._metrics["train"].items()}
            try:
                loss, tokens = self._backward(model, inputs, of_tokens)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.most_tokens <= 1:
                    raise
                self._begin_anew(model, counted)
                continue
            parallel.average([p.grad for p in model.parameters() if p.grad is not None])
            self._merge_passes(counted, tokens)
            self._measure(inputs)
            return loss.requires_grad_()

    def _merge_passes(self, counted: dict[str, int], tokens: list[float]) -> None:
        """One value a step of what TRL measured a pass: by tokens, where it counted every pass alike.

        A step without any token to train on has no such value at all.
        """
        metrics, own = self._metrics["train"], {}
        for name in list(metrics):
            before = counted.get(name, 0)
            if len(metrics[name][before:]) == len(tokens):
                own[name] = metrics[name][before:]
                del metrics[name][before:]
        parts = parallel.gathered((own, tokens))
        weights = [weight for _, part in parts for weight in part]
        for name in own:
            if any(weights):
                metrics[name].append(
                    _merged(name, [value for part, _ in parts for value in part[name]], weights)
                )
            elif not metrics[name]:
                del metrics[name]

    def _begin_anew(self, model: Any, counted: dict[str, int]) -> None:
        model.zero_grad(set_to_none=True)
        for name, values in self._metrics["train"].items():
            del values[counted.get(name, 0) :]
        self._shrink()

    def _shrink(self) -> None:
        release()
        self.most_tokens //= 2
        self._shrunk(self.most_tokens)

    def _backward(
        self, model: Any, inputs: dict[str, Any], of_tokens: float
    ) -> tuple[torch.Tensor, list[float]]:
        """This process's share in the loss of the step, and how many tokens each pass trained on.

        ``of_tokens`` is the mean of the processes' tokens, so that the mean of their losses and of their
        gradients is the step's.
        """
        # Past what DDP wraps around the model: its passes would have to be as many in every process.
        model = self.accelerator.unwrap_model(model)
        mask = inputs["completion_mask"]
        self._logps = torch.zeros(mask.shape, device=mask.device)
        batches = self._micro_batches(inputs)
        tokens: list[float] = []
        total = torch.zeros((), device=mask.device)
        for rows in batches:
            self._check_stop()
            part = select(inputs, rows)
            tokens.append(float(part["completion_mask"].sum()))
            weight = loss_weight(self.loss_type, len(rows), len(mask), tokens[-1], of_tokens)
            with parallel.alone(self.accelerator):
                loss = super()._compute_loss(model, part) * weight
            self._logps[rows, : self._pass_logps.size(1)] = self._pass_logps
            self.accelerator.backward(loss)
            total += loss.detach()
        return total, tokens

    def _micro_batches(self, inputs: dict[str, Any]) -> list[list[int]]:
        lengths = (inputs["prompt_mask"].sum(1) + inputs["completion_mask"].sum(1)).tolist()
        groups: dict[int, list[int]] = {}
        for row, group in enumerate(inputs["group"].tolist()):
            groups.setdefault(group, []).append(row)
        if not self.shares:
            return micro_batches(list(groups.values()), lengths, self.most_tokens)
        prompts = inputs["prompt_mask"].sum(1).tolist()
        own = [
            length - prompt + prompt // self.num_generations
            for length, prompt in zip(lengths, prompts, strict=True)
        ]
        return micro_batches(list(groups.values()), own, self.most_tokens)

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> Any:
        def run(rows: slice) -> Any:
            ids, mask = input_ids[rows], attention_mask[rows]
            if self.shares:
                return self._shared_logps(model, ids, mask, logits_to_keep)
            with self.accelerator.autocast():
                return *scoring.per_token(model, ids, mask, logits_to_keep), None

        if torch.is_grad_enabled():
            result = run(slice(None))
        else:
            result = self._in_parts(run, len(input_ids), input_ids.size(1), logits_to_keep)
        self._pass_logps = result[0].detach()
        return result

    def _in_parts(self, run: Callable[[slice], Any], rows: int, width: int, keep: int) -> Any:
        """What ``run`` gives for all rows, in parts no larger than a pass, halved if memory runs out."""
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
        self, model: Any, ids: torch.Tensor, mask: torch.Tensor, keep: int
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        prompts, completions = (ids[:, :-keep], mask[:, :-keep]), (ids[:, -keep:], mask[:, -keep:])
        layout = shared_prefix.lay_out(*prompts, *completions)
        with self.accelerator.autocast():
            logps, entropies = shared_prefix.per_token(model, layout, completions[1])
        return logps, entropies, None

    # --- measuring -------------------------------------------------------------------------------

    @torch.no_grad()
    def _measure(self, inputs: dict[str, Any]) -> None:
        started = time.perf_counter()
        self._measure_kl(inputs)
        sampled = inputs.get("sampling_per_token_logps")
        if sampled is not None:
            mask = inputs["completion_mask"]
            self._add("gap", float(((self._logps - sampled).abs() * mask).sum()))
            self._add("sampled_tokens", float(mask.sum()))
        self._share_measured()
        self._add("time/measuring", time.perf_counter() - started)

    def _share_measured(self) -> None:
        """Sums over tokens become those of all processes; times stay this one's."""
        parts = parallel.gathered({k: v for k, v in self.measured.items() if not k.startswith("time/")})
        if len(parts) > 1:
            for name in {name for part in parts for name in part}:
                self.measured[name] = sum(part.get(name, 0.0) for part in parts)

    def _measure_kl(self, inputs: dict[str, Any]) -> None:
        """The KL of the policy to the reference, on tokens that the policy sampled, see ``docs/metrics.md``.

        k1 = log p - log q, k2 = (log p - log q)^2 / 2 and k3 = q/p - 1 - log(q/p), with p the policy and q
        the reference. Where TRL has computed the reference on all rows (beta above 0) that is used; otherwise
        one rollout of some groups is run through it.
        """
        logps, mask, base = self._logps, inputs["completion_mask"], inputs.get("ref_per_token_logps")
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

    def _kl_rows(self, inputs: dict[str, Any]) -> list[int]:
        """One rollout each of as many groups as ``KL_SHARE`` pays for; of one, every few steps, if of none.

        Which steps measure depends on the step's number and tokens alone, so a resumed job measures the same.
        """
        rows = first_of_each(inputs["group"].tolist())
        lengths = (inputs["prompt_mask"].sum(1) + inputs["completion_mask"].sum(1)).tolist()
        prompts = inputs["prompt_mask"].sum(1).tolist()
        copies = len(rows) if self.shares else len(lengths)
        trained = sum(inputs["completion_mask"].sum(1).tolist()) + sum(prompts) * copies / len(lengths)
        each = sum(lengths[row] for row in rows) / len(rows)
        allowed = KL_SHARE * PASSES * trained / each
        if allowed >= 1:
            return rows[: int(allowed)]
        return rows[:1] if self.state.global_step % round(1 / allowed) == 0 else []

    def _base_logps(self, inputs: dict[str, Any]) -> torch.Tensor:
        """Log-probabilities (rows, completion tokens) under what training began with, after a resume too."""
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        keep = inputs["completion_ids"].size(1)
        with reference(self.accelerator.unwrap_model(self.model)):
            logps, _, _ = self._get_per_token_logps_and_entropies(self.model, ids, mask, keep)
        return torch.as_tensor(logps)

    @torch.no_grad()
    def logprobs(self, prompt_ids: list[int], completion_ids: list[int]) -> list[float]:
        """The log-probabilities that training gives the tokens of one completion."""
        ids = torch.tensor([prompt_ids + completion_ids], device=self.accelerator.device)
        self.model.eval()
        values, _, _ = self._get_per_token_logps_and_entropies(
            self.model, ids, torch.ones_like(ids), len(completion_ids)
        )
        return [float(value) for value in values[0]]

    def pass_over(self, pairs: list[tuple[list[int], list[int]]]) -> torch.Tensor:
        """Log-probabilities, with their gradient, of completions after prompts, given as token ids."""
        device, pad = self.accelerator.device, torch.nn.utils.rnn.pad_sequence
        sides: list[torch.Tensor] = []
        for place, side in ((0, "left"), (1, "right")):
            ids = [torch.tensor(pair[place], device=device) for pair in pairs]
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

    def _adapter(self) -> torch.Tensor:
        """All trainable numbers in one vector."""
        return torch.cat([p.detach().flatten().float() for p in self.model.parameters() if p.requires_grad])

    def _adapter_change(self) -> float:
        """How far the optimiser moved the adapter since the last step: the norm of the difference."""
        now = self._adapter()
        change = float((now - self._adapter_before).norm())
        self._adapter_before = now
        return change

    def _load_from_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_checkpoint(*args, **kwargs)
        self._adapter_before = self._adapter()

    def take_metrics(self, step_time: float) -> dict[str, float]:
        """Our metrics of the step that just ended, see ``docs/metrics.md``; the next step starts anew."""
        measured, self.measured = self.measured, {}
        generation, grading = measured["time/generation"], self.recorder.grading_seconds
        values = {
            **self.recorder.metrics(),
            "adapter/norm_change": self._adapter_change(),
            "time/generation": generation,
            "time/training": step_time - generation - grading - measured["time/measuring"],
            "time/measuring": measured["time/measuring"],
            "tokens_per_second": self.recorder.completion_tokens() / step_time,
            **peak(),
            **self._usage.take(),
        }
        if tokens := measured.get("kl_tokens"):
            values |= {
                "kl_to_base": measured["k3"] / tokens,
                "kl_to_base/k1": measured["k1"] / tokens,
                "kl_to_base/k2": measured["k2"] / tokens,
            }
        if tokens := measured.get("sampled_tokens"):
            values["sampling/logp_gap"] = measured["gap"] / tokens
        return values


def select(inputs: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    """These rows of a batch, without columns that are padding in all of them."""
    count = len(inputs["completion_mask"])
    part = {
        name: value[rows]
        if isinstance(value, torch.Tensor) and value.dim() and len(value) == count
        else value
        for name, value in inputs.items()
    }
    wide = inputs["completion_mask"].size(1)
    longest = max(1, int(part["completion_mask"].sum(1).max()))
    prompt = int(part["prompt_mask"].sum(1).max())
    for name, value in part.items():
        if name.startswith("prompt_"):
            part[name] = value[:, value.size(1) - prompt :]
        elif isinstance(value, torch.Tensor) and value.dim() == 2 and value.size(1) == wide:
            part[name] = value[:, :longest]
    return part


def first_of_each(groups: list[int]) -> list[int]:
    """The places where each group appears first, rising."""
    return sorted({group: place for place, group in reversed(list(enumerate(groups)))}.values())


def _merged(name: str, values: list[float], tokens: list[float]) -> float:
    """One value of a step's passes, by the metric's name: the least, the greatest or the mean over tokens."""
    known = [(value, weight) for value, weight in zip(values, tokens, strict=True) if weight]
    if name.endswith(("_min", "_max")):
        return (min if name.endswith("_min") else max)(value for value, _ in known)
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
