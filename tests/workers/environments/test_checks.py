"""The checks of an environment name what would make training in it useless, with evidence and remedy."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT
from workers.contract.environments import PythonEnvironment
from workers.environments.checks import Finding, check_environment
from workers.environments.python import PythonBackend

GOOD = '''
import random

class Guess:
    system_prompt = "Find the word."

    @classmethod
    def list_splits(cls):
        return ["train", "test"]
    @classmethod
    def list_tasks(cls, split):
        return [{"seed": n} for n in (range(50) if split == "train" else range(50, 60))]
    def reset(self, seed):
        self.word = random.Random(seed).choice("red blue green white black pink grey".split())
        self.said = ""
        return "Which colour?"
    def look(self) -> str:
        """Look at the colour."""
        return self.word
    def say(self, word: str) -> str:
        """Say the colour.

        Args:
            word: the colour
        """
        self.said = word
        return "Thank you."
    def _finished(self):
        return bool(self.said)
    def get_reward(self):
        return float(self.said == self.word)
    def _oracle(self):
        return [("look", {}), ("say", {"word": self.word})]
'''


def check(source: str) -> dict[str, Finding]:
    with PythonBackend(PythonEnvironment(source=source)) as backend:
        return {finding.check: finding for finding in check_environment(backend)}


def test_the_documented_example_passes_every_check() -> None:
    document = (ROOT / "docs" / "environments.md").read_text()
    found = check(document.partition("```python\n")[2].partition("```")[0])
    assert {name: finding.passed for name, finding in found.items()} == dict.fromkeys(found, True)


def test_a_good_environment_passes_every_check() -> None:
    found = check(GOOD)
    assert {name: finding.passed for name, finding in found.items()} == dict.fromkeys(found, True)
    assert list(found) == ["splits", "oracle", "empty_policy", "constant_policy", "determinism"]
    assert found["constant_policy"].value is not None
    assert 0 < found["constant_policy"].value < 0.25


@pytest.mark.parametrize(
    ("check_name", "old", "new", "evidence"),
    [
        ("splits", "range(50, 60)", "range(40, 60)", "in train and test"),
        ("oracle", '{"word": self.word}', '{"word": "red"}', "reward 0.0"),
        ("oracle", "float(self.said == self.word)", "1 / 0 if self.said else 0.0", "ZeroDivisionError"),
        ("empty_policy", "self.said == self.word", "self.said in ('', self.word)", "reward 1.0"),
        ("constant_policy", "red blue green white black pink grey", "red blue red", 'say({"word": "red"})'),
        ("determinism", "return self.word\n", "return str(__import__('time').time_ns())\n", "call 1 gave"),
        ("determinism", '"Which colour?"', "__import__('uuid').uuid4().hex", "reset gave"),
    ],
)
def test_what_is_wrong_is_found_with_evidence_and_remedy(
    check_name: str, old: str, new: str, evidence: str
) -> None:
    assert old in GOOD
    finding = check(GOOD.replace(old, new))[check_name]
    assert finding.passed is False
    assert evidence in finding.evidence[0]
    assert finding.remedy.endswith(".")


def test_without_an_oracle_nothing_is_claimed() -> None:
    found = check(GOOD.replace("def _oracle", "def _other"))
    assert (found["oracle"].passed, found["constant_policy"].passed) == (None, None)
    assert found["determinism"].passed
