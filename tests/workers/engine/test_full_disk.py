"""A full disk is told from other faults, whichever library meets it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from workers.engine import errors

TENSORS = {"first": torch.zeros(50_000), "second": torch.zeros(50_000)}


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """Files of this process cannot grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("bytes_left", [1_000, 200_000, 300_000, 400_050])
def test_a_checkpoint_that_does_not_fit_is_named(tmp_path: Path, bytes_left: int) -> None:
    for save in (torch.save, save_file):
        with full_disk(bytes_left), pytest.raises(Exception) as found:  # noqa: PT011
            save(TENSORS, tmp_path / save.__name__)
        assert errors.is_disk_full(found.value), found.value
