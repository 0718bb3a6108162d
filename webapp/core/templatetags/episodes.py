"""Template filters for episodes."""

from __future__ import annotations

from django import template

from webapp.core.episodes import presenters
from webapp.core.episodes.records import END_LABELS
from workers.contract.environments import EpisodeRecord

register = template.Library()
BEGINNING = 1500


@register.filter
def view_episode(episode: EpisodeRecord) -> presenters.EpisodeView:
    """Return the episode for a page."""
    return presenters.view_episode(episode)


@register.filter
def view_trail(episode: EpisodeRecord) -> presenters.Trail:
    """Return the episode in brief."""
    return presenters.view_trail(episode)


@register.filter
def end_label(reason: str) -> str:
    """Return what ended an episode, after "ended by"."""
    return END_LABELS.get(reason, reason)


@register.filter
def visible(text: str) -> str:
    """Replace characters that a page would hide, with visible symbols."""
    return presenters.make_visible(text)


@register.filter
def beginning(transcript: str) -> str:
    """Return the first characters of an episode's transcript, for a list."""
    shown = presenters.make_visible(transcript[:BEGINNING])
    return f"{shown} …" if len(transcript) > BEGINNING else shown
