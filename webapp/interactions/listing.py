"""Find a team's interactions by the query string of the page."""

from __future__ import annotations

from datetime import date

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import QueryDict
from django.utils.dateparse import parse_date

from webapp.core.listing import ListQuery, Sorts
from webapp.interactions.feedback import CORRECTIONS, select_present
from webapp.interactions.models import Feedback, Interaction
from webapp.interactions.rules import THUMB
from webapp.interactions.services import select_trainable
from webapp.teams.models import Team

SORTS: Sorts = {
    "": ("Newest first", ("-id",)),
    "oldest": ("Oldest first", ("id",)),
    "slow": ("Slowest first", ("-latency_ms", "-id")),
}
FILTERS = ("model", "since", "until", "feedback", "metadata", "use")
FEEDBACK = {
    "down": ("Thumbs down", Q(metric=THUMB, number=0)),
    "up": ("Thumbs up", Q(metric=THUMB, number=1)),
    "corrected": ("Corrected", Q(kind__in=CORRECTIONS)),
    "any": ("Any", Q()),
}
USES = [("train", "May train"), ("mismatch", "Another adapter answered")]


def build_context(team: Team, query: QueryDict) -> dict[str, object]:
    """Return what ``interactions/list.html`` shows: the page that the query string asks for, and filters."""
    wanted = ListQuery(query, SORTS, FILTERS)
    found = filter_interactions(team, wanted.filters)
    page = wanted.paginate(found)
    context = wanted.build_context()
    return context | {
        "page": page,
        "rows": _add_thumbs(list(page)),
        "models": list_models(team),
        "states": [(key, title) for key, (title, _) in FEEDBACK.items()],
        "uses": USES,
        "trainable": select_trainable(found).count(),
    }


def read_filters(query: QueryDict) -> dict[str, str]:
    """Return the filters of a query string."""
    return ListQuery(query, SORTS, FILTERS).filters


def list_models(team: Team) -> list[str]:
    """Return the names that the team's kept requests called."""
    named = Interaction.objects.filter(team=team).order_by("model").values_list("model", flat=True)
    return list(named.distinct())


def filter_interactions(team: Team, filters: dict[str, str]) -> QuerySet[Interaction]:
    """Return the interactions that pass all filters; a filter that cannot be read is left out."""
    found = Interaction.objects.filter(team=team).select_related("team", "deployment", "version")
    if filters["model"]:
        found = found.filter(model=filters["model"])
    if since := _parse_day(filters["since"]):
        found = found.filter(created_at__date__gte=since)
    if until := _parse_day(filters["until"]):
        found = found.filter(created_at__date__lte=until)
    if text := filters["q"]:
        found = found.filter(Q(search_text__icontains=text) | Q(uid=text))
    if filters["metadata"]:
        name, equals, value = filters["metadata"].partition("=")
        pair = Q(metadata__contains={name.strip(): value.strip()}) if equals else Q(metadata__has_key=name)
        found = found.filter(pair)
    return _filter_by_state(found, filters)


def _filter_by_state(found: QuerySet[Interaction], filters: dict[str, str]) -> QuerySet[Interaction]:
    if filters["feedback"] in FEEDBACK:
        given = select_present(
            Feedback.objects.filter(FEEDBACK[filters["feedback"]][1], interaction=OuterRef("pk"))
        )
        found = found.filter(Exists(given))
    if filters["use"] == "train":
        return select_trainable(found)
    return found.filter(verified=False) if filters["use"] == "mismatch" else found


def _parse_day(text: str) -> date | None:
    try:
        return parse_date(text)
    except ValueError:  # such as 31 February
        return None


def _add_thumbs(page: list[Interaction]) -> list[tuple[Interaction, list[Feedback]]]:
    """Return the interactions with the feedback that counts."""
    given = select_present(Feedback.objects.filter(interaction__in=page)).order_by("pk")
    by_interaction: dict[int | None, list[Feedback]] = {}
    for each in given:
        by_interaction.setdefault(each.interaction_id, []).append(each)
    return [(each, by_interaction.get(each.pk, [])) for each in page]
