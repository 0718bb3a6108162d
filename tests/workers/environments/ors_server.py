"""A server of the Open Reward Standard, from its own package; prints its port."""

import asyncio
import os
import socket

import uvicorn
from ors import Environment, ImageBlock, Server, Split, TextBlock, ToolOutput, tool
from pydantic import BaseModel, Field


class Add(BaseModel):
    amount: int = Field(description="to add")


class Wait(BaseModel):
    seconds: float


def say(text: str, **values: object) -> ToolOutput:
    return ToolOutput(blocks=[TextBlock(text=text)], **values)  # type: ignore[arg-type]


class Counter(Environment):
    """Reach the target, then submit."""

    made = 0

    def setup(self) -> None:
        if self.task_spec["target"] < 0:
            raise ValueError("the target is negative")
        self.total = 0

    @classmethod
    def list_splits(cls) -> list[Split | str]:
        return ["train", Split(name="hard", type="test")]

    @classmethod
    def list_tasks(cls, split: str) -> list[dict[str, object]]:
        return [{"target": target, "note": "a\0b"} for target in range(3 if split == "train" else 1)]

    def get_prompt(self) -> list[TextBlock | ImageBlock]:
        image = ImageBlock(data="", mimeType="image/png")
        return [TextBlock(text=f"Reach {self.task_spec['target']}."), image]

    @tool
    def add(self, params: Add) -> ToolOutput:
        """Add to the total."""
        Counter.made += 1
        self.total += params.amount
        return say(f"total {self.total}", reward=0.25)

    @tool
    def submit(self) -> ToolOutput:
        """Submit the total."""
        return say("submitted", reward=float(self.total == self.task_spec["target"]), finished=True)

    @tool
    def recite(self) -> ToolOutput:
        """Recite 20,000 characters."""
        return say("a b \0\n" + "    x" * 4000)

    @tool
    def fail(self) -> ToolOutput:
        """Fail."""
        raise KeyError("no order")

    @tool
    async def wait(self, params: Wait) -> ToolOutput:
        """Wait."""
        await asyncio.sleep(params.seconds)
        return say("waited")

    @tool
    def count(self) -> ToolOutput:
        """Return how often add ran in this server."""
        return say(str(Counter.made))


class Indexed(Counter):
    """Has tasks by index only."""

    @classmethod
    def list_tasks(cls, split: str) -> list[dict[str, object]]:
        """Refuse, in the way that the package asks of environments without a list."""
        raise NotImplementedError

    @classmethod
    async def num_tasks(cls, split: str) -> int:
        return 2

    @classmethod
    async def get_task(cls, split: str, index: int) -> dict[str, object]:
        return {"target": 10 + index}


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads its log, which would fill the pipe
uvicorn.Server(uvicorn.Config(Server([Counter, Indexed]).app, log_level="critical")).run([listener])
