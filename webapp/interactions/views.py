"""Views of interactions."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.datasets.uploads.services import CannotCommit
from webapp.interactions import dataset_copies, erasure, feedback, listing, presenters, rules
from webapp.interactions.forms import CorrectionForm, RulesForm
from webapp.interactions.models import Feedback, Interaction
from webapp.interactions.services import THUMBS
from webapp.teams.access import Access, member
from webapp.teams.models import Role


def _find(access: Access, uid: str) -> Interaction:
    related = ("team", "key_user", "deployment__team", "version", "base_model", "tuned_model__team")
    return access.get(Interaction.objects.select_related(*related), uid=uid)


@member()
@require_GET
def list_interactions(request: HttpRequest, access: Access) -> HttpResponse:
    context = listing.build_context(access.team, request.GET)
    return render(request, "interactions/list.html", context | {"query": request.GET.urlencode()})


@member()
@require_GET
def detail(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    return _render_detail(request, access, _find(access, uid), CorrectionForm())


def _render_detail(
    request: HttpRequest, access: Access, interaction: Interaction, form: CorrectionForm
) -> HttpResponse:
    context = presenters.build_detail_context(interaction, access.user)
    form.fields["text"].initial = context["correction"] or interaction.completion_text
    context["form"] = form
    return render(request, "interactions/detail.html", context, status=422 if form.errors else 200)


def _record(access: Access, interaction: Interaction, new: feedback.NewFeedback) -> None:
    actor = feedback.Actor(str(access.user.pk), Feedback.Source.MEMBER, access.user)
    feedback.record_feedback(feedback.find_subject(access.team, interaction), actor, new)


@member(Role.EDITOR)
@require_POST
def vote(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Give the member's thumb: up or down."""
    interaction, thumb = _find(access, uid), request.POST.get("thumb", "")
    if thumb not in THUMBS:
        raise Http404
    _record(access, interaction, feedback.NewFeedback(rules.THUMB, THUMBS[thumb]))
    messages.success(request, f"Your thumb {thumb} was saved.")
    return redirect(interaction)


@member(Role.EDITOR)
@require_POST
def correct(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Save what the model should have said, as a demonstration."""
    interaction, form = _find(access, uid), CorrectionForm(request.POST)
    if not form.is_valid():
        return _render_detail(request, access, interaction, form)
    _record(access, interaction, feedback.NewFeedback(Feedback.Kind.DEMONSTRATION, form.cleaned_data["text"]))
    messages.success(request, "Your correction was saved. A dataset of this interaction has it as reference.")
    return redirect(interaction)


@member(Role.EDITOR)
@require_POST
def delete(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    erasure.delete_interaction(_find(access, uid), access.user)
    messages.success(request, f"Deleted {uid}.")
    return redirect("interactions:list", access.team.slug)


@member(Role.OWNER)
@require_POST
def erase(request: HttpRequest, access: Access, uid: str) -> HttpResponse:
    """Delete everything that is kept of the person behind an interaction."""
    subject = _find(access, uid).subject_hash
    if not subject:
        raise Http404
    erased = erasure.erase_subject(access.team, access.user, subject)
    copies = ", ".join(map(str, erased.versions))
    messages.success(request, f"Erased {erased.interactions} interaction{'s' * (erased.interactions != 1)}.")
    if copies:
        messages.warning(request, f"Datasets never change: {copies} still have copies. Delete them too.")
    return redirect("interactions:list", access.team.slug)


@member(Role.EDITOR)
@require_POST
def make_dataset(request: HttpRequest, access: Access) -> HttpResponse:
    """Copy the interactions of the list's filters into a new dataset."""
    found = listing.filter_interactions(access.team, listing.read_filters(request.GET))
    try:
        made = dataset_copies.make_dataset(
            access.team, access.user, request.POST.get("name", "").strip(), found
        )
    except CannotCommit as error:
        messages.error(request, str(error))
        return redirect("interactions:list", access.team.slug)
    text = f"Made {made.version} of {made.version.rows} interactions."
    if made.left_out:
        text += f" {made.left_out} may not train and were left out."
    if made.unusable:
        text += f" {made.unusable} do not end with a message of the user and were left out."
    messages.success(request, text)
    return redirect(made.version)


@member(Role.OWNER)
@require_http_methods(["GET", "POST"])
def edit_rules(request: HttpRequest, access: Access) -> HttpResponse:
    """Show and save the team's rules of consent, retention, redaction and metrics."""
    present = rules.find_rules(access.team)
    form = RulesForm(request.POST or None, rules=present)
    if request.method == "POST" and form.is_valid():
        rules.change_rules(access.team, access.user, form.cleaned_data)
        messages.success(request, "Rules saved.")
        return redirect("interactions:rules", access.team.slug)
    context = {"form": form, "rules": present}
    return render(request, "interactions/rules.html", context, status=422 if form.errors else 200)
