"""A spec that the engine could not follow is refused when it is written, and names the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.workers.minimal_spec import FILE, SPEC
from workers.contract.methods import METHODS
from workers.contract.spec import (
    MAX_ARGUMENTS,
    RESERVED_ARGUMENTS,
    SECTIONS,
    BaseModelRef,
    ChatSettings,
    GrpoSettings,
    JobSettings,
    JobSpec,
    JudgeEndpoint,
    Resources,
)

TASK = {"grader": SPEC["grader"], "grader_sha256": "e" * 64}


def test_a_spec_comes_back_from_its_file_as_it_was() -> None:
    spec = JobSpec.model_validate(SPEC)
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"version": 2}, "version"),
        ({"colour": "red"}, "colour"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"lora": {"rank": 0}}, "lora.rank"),
        ({"lora": {"dropout": 0.6}}, "lora.dropout"),
        ({"grpo": {"group_size": 1}}, "grpo.group_size"),
        ({"grpo": {"learning_rate": 0}}, "grpo.learning_rate"),
        ({"grpo": {"temperature": 0}}, "grpo.temperature"),
        ({"grpo": {"epsilon": 1}}, "grpo.epsilon"),
        ({"grpo": {"loss_type": "ppo"}}, "grpo.loss_type"),
        ({"evaluation": {"confidence": 1}}, "evaluation.confidence"),
        ({"evaluation": {"confidence": 0.5}}, "evaluation.confidence"),
        ({"preflight": {"samples_per_row": 1}}, "preflight.samples_per_row"),
        ({"resources": {"cpu_cores": 0}}, "resources.cpu_cores"),
        ({"base_model": {"id": "m", "chat_template": "x" * 64_001}}, "base_model.chat_template"),
        ({"tasks": {str(n): TASK for n in range(9)}}, "tasks"),
        ({"suites": [{"name": ""}]}, "suites.0.name"),
        ({"promoted_from": {"job_id": "j", "step": 0}}, "promoted_from.step"),
        ({"dataset": {"sha256": "d", "train": FILE | {"rows": -1}}}, "dataset.train.rows"),
    ],
)
def test_a_value_out_of_bounds_names_its_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(SPEC | changes)
    assert field in {".".join(map(str, error["loc"])) for error in caught.value.errors()}


@pytest.mark.parametrize("method", [*METHODS, "ppo"])
@pytest.mark.parametrize("has_demonstrations", [True, False])
def test_exactly_the_methods_that_learn_from_demonstrations_have_some(
    method: str, has_demonstrations: bool
) -> None:
    raw = SPEC | {"method": method} | ({"sft": {"rows": FILE}} if has_demonstrations else {})
    known = METHODS.get(method)
    if known and known.needs_demonstrations == has_demonstrations:
        assert JobSpec.model_validate(raw).method == method
    else:
        with pytest.raises(ValidationError, match="no method 'ppo'" if known is None else "demonstrations"):
            JobSpec.model_validate(raw)


@pytest.mark.parametrize(
    ("device", "gpus", "fits"), [("cpu", 0, True), ("cuda", 2, True), ("cpu", 1, False), ("cuda", 0, False)]
)
def test_gpus_and_device_fit_together(device: str, gpus: int, fits: bool) -> None:
    if fits:
        assert Resources.model_validate({"device": device, "gpus": gpus}).gpus == gpus
    else:
        with pytest.raises(ValidationError, match="gpus"):
            Resources.model_validate({"device": device, "gpus": gpus})


@pytest.mark.parametrize("name", [*sorted(RESERVED_ARGUMENTS), "two words", "", "1st", "a-b"])
def test_a_template_argument_cannot_replace_what_rendering_itself_passes(name: str) -> None:
    with pytest.raises(ValidationError, match="template argument"):
        ChatSettings(template_arguments={name: True})


def test_template_arguments_are_short() -> None:
    most = MAX_ARGUMENTS - len('{"text": ""}')
    assert ChatSettings(template_arguments={"text": "x" * most}).template_arguments["text"] == "x" * most
    with pytest.raises(ValidationError, match="4096"):
        BaseModelRef(id="m", template_arguments={"text": "x" * (most + 1)})


@given(st.integers(2, 64), st.integers(1, 256))
def test_a_step_has_a_group_for_each_prompt(group_size: int, prompts: int) -> None:
    settings = GrpoSettings(group_size=group_size, prompts_per_step=prompts)
    assert settings.rollouts_per_step == group_size * prompts


def test_a_setting_never_changes_once_it_is_written() -> None:
    spec = JobSpec.model_validate(SPEC)
    with pytest.raises(ValidationError, match="frozen"):
        spec.grpo.beta = 1.0  # type: ignore[misc]


def test_every_section_of_a_form_is_one_of_the_job() -> None:
    assert {name: JobSettings.model_fields[name].annotation for name in SECTIONS} == SECTIONS


@pytest.mark.parametrize(
    ("path", "expected"), [(None, None), ("model", "/data/model"), ("/srv/m", "/srv/m"), ("../m", "/m")]
)
def test_a_relative_model_folder_lies_beside_the_spec(path: str | None, expected: str | None) -> None:
    ref = BaseModelRef(id="org/model", path=path)
    assert ref.resolve(Path("/data")).path == expected


@pytest.mark.parametrize(
    "limits",
    [{"concurrency": 0}, {"concurrency": 257}, {"timeout_seconds": 0}, {"timeout_seconds": 601},
     {"requests_per_minute": 0}, {"budget": 0}, {"input_price": -1}],
)  # fmt: skip
def test_an_endpoint_has_limits_that_can_be_kept(limits: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JudgeEndpoint(base_url="http://127.0.0.1/v1", model="m", **limits)
