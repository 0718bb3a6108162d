"""The body of ``POST /v1/chat/completions`` with the fields that concern the gateway alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from webapp.core.api.metadata import Metadata
from workers.contract.chat_request import ChatRequest
from workers.contract.json_types import JsonObject

# The gateway reads these fields; all others go to the model server.
OWN_FIELDS = {
    "model", "modalities", "store", "metadata", "user", "safety_identifier", "service_tier", "stream_options",
}  # fmt: skip


class CompletionRequest(ChatRequest):
    """A request for a chat completion, as OpenAI's SDK sends it."""

    model: Annotated[str, StringConstraints(pattern=r"^[^\x00]+$", max_length=300)]
    store: bool = False
    metadata: Metadata = {}
    user: str = ""
    safety_identifier: str = ""
    service_tier: str | None = None
    modalities: list[Literal["text"]] | None = None

    def build_payload(self, model: str) -> JsonObject:
        """Return the body for the model server, which knows the model as ``model``."""
        sent = self.model_fields_set - OWN_FIELDS
        payload: JsonObject = self.model_dump(mode="json", by_alias=True, include=sent, exclude_none=True)
        payload["model"] = model
        if self.store:
            payload["return_token_ids"] = True
        if self.stream:
            payload["stream_options"] = {"include_usage": True}
        return payload
