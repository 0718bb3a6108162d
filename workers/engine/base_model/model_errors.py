"""Failures of a base model: it cannot be found, loaded, prompted, sampled or adapted."""

from __future__ import annotations

from workers.engine.errors import EngineError

DETAIL_CHARACTERS = 500


def model_not_found(name: str, detail: str = "") -> EngineError:
    return EngineError(
        "model_not_found",
        f"The base model {name} is neither a local folder with weights nor a model on the hub.",
        "Check the id and revision, or give the path of a local folder.",
        detail,
    )


def model_gated(name: str, detail: str) -> EngineError:
    return EngineError(
        "model_gated",
        f"The hub does not let this machine read the base model {name}.",
        "Accept the model's licence on the hub and set HF_TOKEN for the worker, or give a local path.",
        detail,
    )


def hub_unreachable(name: str, detail: str) -> EngineError:
    return EngineError(
        "hub_unreachable",
        f"The model hub could not be reached, and the base model {name} is not in this machine's cache.",
        "Give the path of a local folder as the base model; or download the model once where the hub can be "
        "reached and set HF_HUB_OFFLINE=1; or set HF_ENDPOINT to a mirror.",
        detail,
    )


def model_unusable(name: str, detail: str) -> EngineError:
    return EngineError(
        "model_unusable",
        f"The base model {name} could not be loaded as a causal language model.",
        "Choose a text-only causal language model in a standard transformers architecture with safetensors.",
        detail,
    )


def outside_roots(name: str, setting: str) -> EngineError:
    return EngineError(
        "base_outside_roots",
        f"The folder of the base model {name} is not below any folder that this worker may read models from.",
        f"Move the model there, or have the operator add its folder to {setting} and restart the workers.",
    )


def no_causal_model(name: str, kind: str) -> EngineError:
    return EngineError(
        "model_unusable",
        f"The base model {name} is of the kind {kind!r}, which is not a causal language model.",
        "Choose a model that generates text, such as the text-only or chat variant.",
    )


def unknown_architecture(name: str, version: str, detail: str) -> EngineError:
    return EngineError(
        "unknown_architecture",
        f"The base model {name} has an architecture that transformers {version}, as installed here, does not "
        "know.",
        "Choose another model, or ask the operator for a release of Groove with a newer transformers. "
        "docs/models.md lists what was tried.",
        detail,
    )


def custom_code(name: str, detail: str) -> EngineError:
    return EngineError(
        "custom_code",
        f"The base model {name} needs Python code from its authors, which Groove never runs.",
        "Choose a version of the model in an architecture that transformers implements.",
        detail,
    )


def base_too_large(name: str, detail: str) -> EngineError:
    return EngineError(
        "base_too_large",
        f"This worker has too little memory to load the base model {name}.",
        "Choose a smaller model, or run the job on a worker with more memory.",
        detail,
    )


def no_chat_template(name: str) -> EngineError:
    return EngineError(
        "no_chat_template",
        f"The tokenizer of {name} has no chat template, so messages cannot be turned into a prompt.",
        "Choose the model's instruct or chat variant, or add the base model again with a chat template.",
    )


def no_layer_matches(targets: str, known: list[str]) -> EngineError:
    return EngineError(
        "no_layer_matches",
        f"No linear layer of the base model matches the LoRA targets {targets!r}.",
        f"Use all-linear, or a pattern over layer names; this model's end in {', '.join(known)}.",
    )


def head_adapted(whose: str, name: str, tied: bool) -> EngineError:
    suffix = ", which shares its matrix with the input embeddings (tied embeddings)" if tied else ""
    return EngineError(
        "head_adapted",
        f"{whose} include {name}, the model's head{suffix}. An adapter on the head cannot be trained here: "
        "the loss reads the head's own weights.",
        f"Leave {name} out of the targets. To continue an adapter that has it, export it merged and add the "
        "result as a base model.",
    )


def sampling_disagrees(name: str, who: str, difference: float, tolerance: float) -> EngineError:
    return EngineError(
        "sampling_disagrees",
        f"The architecture {name} cannot be tuned here: {who} a token's log-probability that differs by "
        f"{difference:.2g} from the model's own (at most {tolerance} is allowed), so training would follow "
        "another policy than the one that answers.",
        "Choose another base model. docs/models.md lists the architectures that were tried.",
    )


def family_fails(name: str, detail: str) -> EngineError:
    return EngineError(
        "family_fails",
        f"The architecture {name} cannot be tuned here: a first pass through the model failed.",
        "Choose another base model. docs/models.md lists the architectures that were tried.",
        detail,
    )


def tokens_beyond_model(name: str, token: int, rows: int) -> EngineError:
    return EngineError(
        "tokens_beyond_model",
        f"The tokenizer of {name} produces the token id {token}, but the model has embeddings for {rows} ids "
        "only.",
        "Tokens were added to the tokenizer and not to the model. Use the tokenizer that was published with "
        "the weights, or resize the model's embeddings.",
    )


def no_end_token(name: str) -> EngineError:
    return EngineError(
        "no_end_token",
        f"Neither the tokenizer nor the generation config of {name} names a token that ends a completion.",
        "Set eos_token in tokenizer_config.json, or eos_token_id in generation_config.json.",
    )


def initial_adapter_unusable(name: str, detail: str) -> EngineError:
    return EngineError(
        "initial_adapter_unusable",
        f"Training cannot continue from the adapter {name}: {detail}",
        "Choose an adapter that PEFT saved for this base model, or start from the base.",
    )


def initial_adapter_disagrees(name: str, actual: str, expected: str) -> EngineError:
    return EngineError(
        "initial_adapter_disagrees",
        f"The initial adapter {name} has {actual}; the job's settings say {expected}.",
        "An initial adapter keeps its shape: set the job's rank, alpha and targets to those of the adapter.",
    )


def template_refuses(name: str, row_id: str, detail: str) -> EngineError:
    return EngineError(
        "chat_template_failed",
        f"The chat template of {name} cannot render row {row_id}: {detail}"[:DETAIL_CHARACTERS],
        "Change the row's messages or leave out its tools, choose a base model whose template shows them, or "
        "give the base model another chat template.",
        detail,
    )
