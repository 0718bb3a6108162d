"""Find a hidden number. The smallest environment: one tool, one rule."""

from __future__ import annotations

HIGHEST = 100


class NumberGuess:
    """A number from 1 to 100 is found by halving the range."""

    system_prompt = "You find a hidden number. Call guess until the number is found."
    max_tool_calls = 7

    @classmethod
    def list_splits(cls) -> list[str]:
        return ["train", "validation", "test"]

    @classmethod
    def list_tasks(cls, split: str) -> list[dict[str, int]]:
        first = {"train": 0, "validation": 1, "test": 2}[split]
        return [{"seed": seed} for seed in range(first, 300, 3 if split == "train" else 12)]

    def reset(self, seed: int) -> str:
        self.number = 1 + seed * 37 % HIGHEST
        self.found = False
        return f"I think of a number from 1 to {HIGHEST}. Game {seed}."

    def guess(self, number: int) -> str:
        """Guess the number.

        Args:
            number: A number from 1 to 100.
        """
        if number == self.number:
            self.found = True
            return "Correct."
        return "The hidden number is higher." if number < self.number else "The hidden number is lower."

    def get_reward(self) -> float:
        return float(self.found)

    def _finished(self) -> bool:
        return self.found

    def _feedback(self) -> str:
        return "The number was found." if self.found else f"The number was {self.number}."

    def _oracle(self) -> list[tuple[str, dict[str, int]]]:
        return [("guess", {"number": self.number})]
