"""Feedback on stored completions: an extension of OpenAI's API, with TensorZero's names."""

from __future__ import annotations

from typing import Annotated

from ninja import Router, Schema
from pydantic import Field

from webapp.core.api.errors import ApiError, NotFound
from webapp.core.api.texts import StorableText
from webapp.interactions import feedback
from webapp.interactions.api.actors import find_actor
from webapp.interactions.api.completions import find_interaction
from webapp.interactions.models import Interaction
from webapp.keys.authentication import INFERENCE, ApiRequest
from webapp.teams.models import Team

router = Router(tags=["Feedback"])
Tags = Annotated[dict[StorableText, StorableText], Field(max_length=16)]


class NewFeedback(Schema):
    """Feedback on one completion (``inference_id``) or on a session (``episode_id``).

    ``episode_id`` is what requests carry as ``metadata["session"]``. ``user`` is the end user who judges;
    without it the key is the actor.
    """

    inference_id: StorableText | None = None
    completion_id: StorableText | None = None
    episode_id: StorableText | None = None
    metric_name: StorableText
    value: bool | float | StorableText
    tags: Tags = {}
    user: StorableText = ""
    dryrun: bool = False


class FeedbackId(Schema):
    """The id of the feedback; null after a dry run."""

    feedback_id: str | None


def _find_subject(team: Team, body: NewFeedback) -> feedback.Subject:
    """Return what the feedback is about. Raises ApiError."""
    given = [each for each in (body.inference_id, body.completion_id, body.episode_id) if each]
    if len(given) != 1:
        message = "Send one of 'inference_id' (or its alias 'completion_id') and 'episode_id'."
        raise ApiError(message, param="inference_id", code="invalid_value")
    if not body.episode_id:
        return feedback.find_subject(team, find_interaction(team, given[0], "inference_id"))
    subject = feedback.find_subject(team, None, body.episode_id)
    if not Interaction.objects.filter(team=team, session_hash=subject.session_hash).exists():
        raise NotFound(f"No stored completion has the session {body.episode_id!r}.", param="episode_id")
    return subject


@router.post("", auth=INFERENCE, response=FeedbackId)
def create_feedback(request: ApiRequest, body: NewFeedback) -> FeedbackId:
    """Add feedback. It replaces the actor's earlier one on the same metric."""
    subject = _find_subject(request.auth.team, body)
    new = feedback.NewFeedback(body.metric_name, body.value, body.tags)
    if body.dryrun:
        feedback.check_feedback(subject, new)
        return FeedbackId(feedback_id=None)
    recorded = feedback.record_feedback(subject, find_actor(request.auth, body.user), new)
    return FeedbackId(feedback_id=recorded.uid)
