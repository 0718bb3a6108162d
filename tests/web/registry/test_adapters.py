"""Uploads of adapters: what is stored, what is refused and why, and who may upload."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.web.adapters import CONFIG, good, packed, weights
from webapp.registry import uploads
from webapp.registry.models import TunedModel
from webapp.registry.services import ensure_starter_model
from webapp.registry.uploads import read_lora_shape
from webapp.teams.models import AuditEvent, Team, User
from workers.contract import adapter
from workers.contract.adapter import AdapterInvalid

SignIn = Callable[[User], Client]
TEXT = json.dumps(CONFIG).encode()


def linked() -> bytes:
    """An archive whose weights are a link to a file of the server."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("adapter_config.json", TEXT)
        entry = zipfile.ZipInfo("adapter_model.safetensors")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        written.writestr(entry, "/etc/passwd")
    return archive.getvalue()


def with_header(header: str) -> bytes:
    content = len(header).to_bytes(8, "little") + header.encode()
    return packed({"adapter_config.json": TEXT, "adapter_model.safetensors": content})


def many_tensors(number: int) -> bytes:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return with_header(json.dumps({str(each): empty for each in range(number)}))


def doubled() -> bytes:
    """A header that names one tensor twice: readers differ in which of the two they take."""
    one = '"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}'
    return with_header(f"{{{one}, {one}}}")


def send(client: Client, team: Team, archive: bytes, name: str = "Ours") -> Any:
    url = reverse("catalog:upload", args=[team.slug])
    base = ensure_starter_model().uid
    file = SimpleUploadedFile("adapter.zip", archive)
    return client.post(url, {"name": name, "base_model": base, "archive": file}, follow=True)


@pytest.mark.django_db
def test_an_uploaded_adapter_is_kept_as_it_is_and_listed(
    team: Team, alice: User, bob: User, as_user: SignIn
) -> None:
    page = send(as_user(alice), team, good())
    model = TunedModel.objects.get()
    assert page.redirect_chain[-1][0] == model.get_absolute_url()
    assert "It was uploaded" in page.text
    assert [file["name"] for file in model.files] == ["adapter_config.json", "adapter_model.safetensors"]
    with default_storage.open(f"{model.prefix}/adapter_model.safetensors") as file:
        assert file.read() == weights()
    assert model.files[1]["sha256"] == hashlib.sha256(weights()).hexdigest()
    assert read_lora_shape(model) == {"rank": 4, "alpha": 8, "targets": r"(.*\.)?(q_proj|v_proj)"}
    assert AuditEvent.objects.filter(verb="uploaded adapter").exists()
    assert "Ours" in as_user(bob).get(reverse("catalog:list", args=[team.slug])).text


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (b"not a zip", "no readable zip"),
        (
            packed({"adapter_config.json": TEXT, "adapter_model.bin": b"pickle"}),
            "no adapter_model.safetensors",
        ),
        (good(peft_type="IA3"), "IA3"),
        (good(use_dora=True), "use_dora"),
        (good(modules_to_save=["lm_head"]), "modules_to_save"),
        (
            good(rank_pattern={"q_proj": 2}),
            "adapter_config.json: rank_pattern is {&#x27;q_proj&#x27;: 2}, which cannot be continued here. "
            "Merge it into its base (PEFT&#x27;s merge_and_unload) and add the result as a base model.",
        ),
        (good(alpha_pattern={"q_proj": 4}), "alpha_pattern is {&#x27;q_proj&#x27;: 4}"),
        (good(alora_invocation_tokens=[1, 2]), "alora_invocation_tokens"),
        (good(init_lora_weights="pissa"), "init_lora_weights"),
        (good(r=8), "with r 8"),
        (good(r="4"), "r: "),
        (good(lora_alpha="8"), "lora_alpha"),
        (good(target_modules={"q_proj": 1}), "target_modules"),
        (good(target_modules=[1]), "target_modules"),
        (good(target_modules=["q\x00"]), "not a module&#x27;s name"),
        (good(target_modules="(("), "not a regular expression"),
        (good(target_modules="(a+)+b"), "must not repeat"),
        (good(target_modules="q\x00"), "printable"),
        (good(target_modules="a" * 5000), "printable"),
        (good(target_modules=["q_proj"] * 20_000), "20,000 names"),
        (good(layers_to_transform="all"), "layers_to_transform"),
        (good(exclude_modules=7), "exclude_modules"),
        (
            good("lm_head", target_modules=["q_proj", "lm_head"]),
            "adapter_model.safetensors: the adapter changes lm_head, the model&#x27;s head",
        ),
        (good("gpt_neox.embed_out", target_modules=".*"), "Train it again without gpt_neox.embed_out"),
        (good(target_modules=["q_proj", "lm_head"]), "adapter_config.json: the adapter changes lm_head"),
        (good(target_modules=r".*(q_proj|head)"), "adapter_config.json: the adapter changes lm_head"),
        (good(target_modules=["v_proj"]), "q_proj is no target of adapter_config.json"),
        (good(target_modules=r".*\.mlp\..*"), "q_proj is no target of adapter_config.json"),
        (good(exclude_modules=["self_attn.q_proj"]), "q_proj is no target of adapter_config.json"),
        (good(layers_to_transform=[1, 2]), "q_proj is no target of adapter_config.json"),
        (good(layers_to_transform=0, layers_pattern="h"), "q_proj is no target of adapter_config.json"),
        (good(layers_pattern=["layers"]), "layers_pattern needs layers_to_transform"),
        (good(layers_pattern="(", layers_to_transform=0), "not a module&#x27;s name"),
        (
            good(target_modules=".*q_proj", layers_to_transform=[0]),
            "layers_to_transform needs a list of names as target_modules",
        ),
        (
            packed({"adapter_config.json": TEXT, "adapter_model.safetensors": weights(), "../x": b""}),
            "outside",
        ),
        (packed({f"{number}.txt": b"" for number in range(2001)}), "more than 2,000 files"),
        (
            packed({"adapter_config.json": TEXT, "adapter_model.safetensors": bytes(30_000_000)}),
            "50 times its packed size",
        ),
        (linked(), "is a link"),
        (many_tensors(50_001), "50,001 tensors"),
        (doubled(), "not a complete safetensors"),
        (good(r=0), "r:"),
        (
            packed({"adapter_config.json": b"{", "adapter_model.safetensors": weights()}),
            "adapter_config.json",
        ),
        (
            packed({"adapter_config.json": TEXT, "adapter_model.safetensors": weights()[:-1]}),
            "not a complete safetensors file",
        ),
        (packed({"adapter_config.json": TEXT, "adapter_model.safetensors": weights(kind="I64")}), "I64"),
        (
            packed({"adapter_config.json": TEXT, "adapter_model.safetensors": weights(names=("lora_A",))}),
            "has A",
        ),
        (
            packed(
                {"adapter_config.json": TEXT, "adapter_model.safetensors": weights(names=("lora_A", "bias"))}
            ),
            "is not a LoRA weight",
        ),
    ],
)
def test_what_cannot_be_continued_is_refused_with_the_reason(
    team: Team, alice: User, as_user: SignIn, archive: bytes, said: str
) -> None:
    before = stored_adapters()
    answer = send(as_user(alice), team, archive)
    assert answer.status_code == 422
    assert said in answer.text
    assert not TunedModel.objects.exists()
    assert stored_adapters() == before


@pytest.mark.django_db
@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": "all-linear"},
        {"target_modules": r".*\.(q_proj|v_proj)"},
        {"target_modules": ["q_proj", "lm_head"], "exclude_modules": ["lm_head"]},
        {"layers_to_transform": [0, 3], "layers_pattern": "layers"},
        {"layers_to_transform": 0},
        {"target_modules": ["model.layers.0.self_attn.q_proj"]},
    ],
    ids=lambda config: "-".join(config),
)
def test_an_adapter_of_any_targets_but_the_head_is_accepted(
    team: Team, alice: User, as_user: SignIn, config: dict[str, Any]
) -> None:
    send(as_user(alice), team, good(**config))
    assert TunedModel.objects.exists()


def stored_adapters() -> list[str]:
    return [str(path) for path in Path(default_storage.path("adapters")).rglob("*") if path.is_file()]


@pytest.mark.django_db
def test_what_was_stored_leaves_again_if_the_row_is_not_kept(
    team: Team, alice: User, as_user: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored_adapters()

    def fail(*_: object) -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr(uploads, "record_event", fail)
    client = as_user(alice)
    with pytest.raises(OperationalError):
        send(client, team, good())
    assert stored_adapters() == before
    assert not TunedModel.objects.exists()


@pytest.mark.django_db
def test_viewers_and_strangers_upload_nothing(team: Team, bob: User, charlie: User, as_user: SignIn) -> None:
    assert send(as_user(bob), team, good()).status_code == 403
    assert send(as_user(charlie), team, good()).status_code == 404
    assert not TunedModel.objects.exists()


@settings(max_examples=200)
@given(st.integers(0, len(good()) - 1), st.integers(0, 255))
def test_a_damaged_archive_is_refused_in_words_and_never_otherwise(place: int, byte: int) -> None:
    """One byte is another: the archive is read as before, or refused with a reason."""
    damaged = bytearray(good())
    damaged[place] = byte
    with suppress(AdapterInvalid), tempfile.TemporaryFile() as unpacked:
        config = adapter.read_config(uploads._unpack(io.BytesIO(bytes(damaged)), unpacked))
        size = unpacked.tell()
        unpacked.seek(0)
        adapter.check_weights(unpacked, size, config)


tensors = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "I64"]) | st.none(),
        "shape": st.lists(st.integers(-1, 9), max_size=3) | st.text(max_size=2),
        "data_offsets": st.lists(st.integers(-1, 99), max_size=3) | st.integers(),
    }
)
headers = st.dictionaries(
    st.text(max_size=3) | st.just("base_model.model.q.lora_A.weight"), tensors | st.text()
)


@given(st.binary(max_size=40) | headers.map(lambda made: json.dumps(made).encode()))
def test_weights_without_sense_are_refused_in_words(header: bytes) -> None:
    content = len(header).to_bytes(8, "little") + header
    with pytest.raises(AdapterInvalid):
        adapter.check_weights(io.BytesIO(content), len(content), adapter.read_config(TEXT))
