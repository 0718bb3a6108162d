"""Other clients, unmodified: the 1.x line of OpenAI's SDK, LangChain and LiteLLM."""

from __future__ import annotations

import json

from tests.api.clients import run_script
from tests.api.conftest import make_secret
from webapp.registry.services import ensure_starter_model
from webapp.teams.models import Team, User

MODEL = "groove/starter"
SDK_1 = """
import io, json, openai
assert openai.__version__.startswith("1."), openai.__version__
client = openai.OpenAI()
rows = [{"messages": [{"role": "user", "content": f"Repeat {n}"}], "answer": str(n)} for n in range(12)]
content = "".join(json.dumps(row) + "\\n" for row in rows).encode()
file = client.files.create(file=("rows.jsonl", content), purpose="fine-tune")
assert client.files.wait_for_processing(file.id).status == "processed"
assert client.files.content(file.id).read() == content
grader = {"type": "string_check", "name": "same", "operation": "eq",
          "input": "{{sample.output_text}}", "reference": "{{item.answer}}"}
graded = client.fine_tuning.alpha.graders.run(grader=grader, model_sample="3", item={"answer": "3"})
job = client.fine_tuning.jobs.create(
    model="MODEL", training_file=file.id, suffix="old", metadata={"sdk": "1"},
    method={"type": "reinforcement", "reinforcement": {"grader": grader}},
)
listed = [each.id for each in client.fine_tuning.jobs.list(metadata={"sdk": "1"})]
events = [event.message for event in client.fine_tuning.jobs.list_events(job.id)]
cancelled = client.fine_tuning.jobs.cancel(job.id)
messages = [{"role": "user", "content": "Hello"}]
options = {"model": "MODEL", "messages": messages, "max_tokens": 8, "temperature": 0}
whole = client.chat.completions.create(**options)
parts = client.chat.completions.create(stream=True, **options)
streamed = "".join(part.choices[0].delta.content or "" for part in parts)
print(json.dumps({
    "reward": graded.reward,
    "listed": listed == [job.id],
    "created": f"Created fine-tuning job: {job.id}" in events,
    "status": cancelled.status,
    "models": "MODEL" in [model.id for model in client.models.list()],
    "retrieved": client.models.retrieve("MODEL").id,
    "alike": streamed == whole.choices[0].message.content,
    "deleted": client.files.delete(file.id).deleted,
}))
"""
LANGCHAIN = """
import json
from langchain_openai import ChatOpenAI
chat = ChatOpenAI(model="MODEL", temperature=0, max_tokens=8)
whole = chat.invoke("Hello")
streamed = "".join(part.content for part in chat.stream("Hello"))
print(json.dumps({"alike": streamed == whole.content, "tokens": whole.usage_metadata["output_tokens"] > 0}))
"""
LITELLM = """
import json, litellm
options = {"model": "openai/MODEL", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0,
           "max_tokens": 8}
whole = litellm.completion(**options)
parts = litellm.completion(stream=True, **options)
streamed = "".join(part.choices[0].delta.content or "" for part in parts)
try:
    litellm.completion(**(options | {"model": "openai/nothing"}))
    refused = ""
except litellm.NotFoundError as error:
    refused = type(error).__name__
alike = streamed == whole.choices[0].message.content
print(json.dumps({"alike": alike, "tokens": whole.usage.completion_tokens > 0, "refused": refused}))
"""


def test_other_clients_work_unmodified(team: Team, alice: User, live: str) -> None:
    ensure_starter_model()
    secret = make_secret(team, alice)

    def run(environment: str, script: str) -> dict[str, object]:
        printed = run_script(environment, script.replace("MODEL", MODEL), f"{live}/v1", secret)
        answers: dict[str, object] = json.loads(printed.splitlines()[-1])
        return answers

    assert run("openai1", SDK_1) == {
        "reward": 1.0, "listed": True, "created": True, "status": "cancelled", "models": True,
        "retrieved": MODEL, "alike": True, "deleted": True,
    }  # fmt: skip
    assert run("clients", LANGCHAIN) == {"alike": True, "tokens": True}
    assert run("clients", LITELLM) == {"alike": True, "tokens": True, "refused": "NotFoundError"}
