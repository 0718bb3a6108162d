"""Pages of teams: home, members, invitations, settings, audit trail."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from webapp.config.streaming import csv_lines, streamed

from . import overview, services
from .access import Access, member, signed_in
from .accounts import SESSION_KEY
from .forms import InvitationForm, RoleForm, SettingsForm, TeamForm
from .models import Invitation, Membership, Role, User
from .sample import create_sample_project

AUDIT_ROWS = 50


@login_required
def new(request: HttpRequest) -> HttpResponse:
    """Make a team."""
    form = TeamForm(request.POST or None)
    if form.is_valid():
        user = signed_in(request)
        with transaction.atomic():
            team = services.create_team(user, form.cleaned_data["name"])
            if form.cleaned_data["sample"]:
                create_sample_project(team, user)
        return redirect(team)
    return render(request, "teams/new.html", {"form": form}, status=422 if form.is_bound else 200)


@member()
def home(request: HttpRequest, access: Access) -> HttpResponse:
    """What runs, what came out, what to do next."""
    steps = overview.first_steps(access.team)
    next_step = next((step for step in steps if not step.done), None)
    context = {
        "steps": steps,
        "next_step": next_step,
        "hidden": access.team.memberships.filter(user=access.user, checklist_hidden=True).exists(),
        "attention": overview.attention(access.team),
        "running": overview.running(access.team),
        "results": overview.results(access.team),
    }
    changed = request.headers.get("HX-Target") == "running-jobs"
    return render(request, "teams/home.html#running" if changed else "teams/home.html", context)


@member()
@require_POST
def hide_checklist(request: HttpRequest, access: Access) -> HttpResponse:
    """Hide the first steps from this member, or show them again (``show=1``)."""
    shown = request.POST.get("show") == "1"
    access.team.memberships.filter(user=access.user).update(checklist_hidden=not shown)
    return redirect(access.team)


@member(Role.EDITOR)
@require_POST
def add_sample(request: HttpRequest, access: Access) -> HttpResponse:
    """Add the sample project."""
    create_sample_project(access.team, access.user)
    messages.success(request, "The sample dataset and grader are there.")
    return redirect(access.team)


@member()
def members(request: HttpRequest, access: Access) -> HttpResponse:
    """Who is in the team. Owners invite by POST."""
    form = InvitationForm(request.POST or None)
    if request.method == "POST":
        access.require(Role.OWNER)
        if form.is_valid():
            role = Role(form.cleaned_data["role"])
            invitation = services.invite(access.team, access.user, form.cleaned_data["email"], role)
            messages.success(request, f"Send {invitation.email} the link below; it works once, for a week.")
            return redirect("teams:members", access.team.slug)
    context = {
        "form": form,
        "memberships": access.team.memberships.select_related("user").order_by("user__email"),
        "invitations": _links(request, access),
        "roles": Role.choices,
    }
    return render(request, "teams/members.html", context, status=422 if form.errors else 200)


def _links(request: HttpRequest, access: Access) -> list[tuple[Invitation, str]]:
    """Open invitations with their links; the links are for owners only."""
    if not access.can_own:
        return []
    invitations = services.open_invitations().filter(team=access.team).order_by("-id")
    return [(each, request.build_absolute_uri(each.get_absolute_url())) for each in invitations]


@member(Role.OWNER)
@require_POST
def change_role(request: HttpRequest, access: Access, membership: int) -> HttpResponse:
    """Give a member another role."""
    found = access.get(Membership.objects.select_related("user", "team"), pk=membership)
    form = RoleForm(request.POST)
    if form.is_valid():
        try:
            services.change_role(found, access.user, Role(form.cleaned_data["role"]))
        except services.LastOwner as error:
            messages.error(request, str(error))
    return redirect("teams:members", access.team.slug)


@member()
@require_POST
def remove(request: HttpRequest, access: Access, membership: int) -> HttpResponse:
    """Owners remove members; everybody may leave."""
    found = access.get(Membership.objects.select_related("user", "team"), pk=membership)
    leaves = found.user == access.user
    if not leaves:
        access.require(Role.OWNER)
    try:
        services.remove_member(found, access.user)
    except services.LastOwner as error:
        messages.error(request, str(error))
        return redirect("teams:members", access.team.slug)
    return redirect("index") if leaves else redirect("teams:members", access.team.slug)


@member(Role.OWNER)
@require_POST
def revoke(request: HttpRequest, access: Access, invitation: int) -> HttpResponse:
    """End an invitation."""
    found = access.get(services.open_invitations(), pk=invitation)
    services.revoke_invitation(found, access.user)
    messages.success(request, f"The link for {found.email} no longer works.")
    return redirect("teams:members", access.team.slug)


def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """What a bearer of the link sees. Strangers sign in or up first; POST accepts."""
    found = services.open_invitations().select_related("created_by").filter(token=token).first()
    if found is None:
        raise Http404("This invitation is not known, was used, or has run out. Ask for another one.")
    if not request.user.is_authenticated:
        request.session[SESSION_KEY] = token
    elif request.method == "POST" and (team := services.accept_invitation(found, signed_in(request))):
        return redirect(team)
    return render(request, "teams/invitation.html", {"invitation": found})


@member(Role.OWNER)
def settings(request: HttpRequest, access: Access) -> HttpResponse:
    """The team's name, what it keeps and how much it may run."""
    team = access.team
    initial = {name: getattr(team, name) for name in SettingsForm.base_fields}
    form = SettingsForm(request.POST or None, initial=initial)
    form.fields["max_running_jobs"].disabled = not access.user.is_staff
    if form.is_valid():
        services.change_settings(team, access.user, form.cleaned_data)
        messages.success(request, "Saved.")
        return redirect("teams:settings", team.slug)
    return render(request, "teams/settings.html", {"form": form}, status=422 if form.is_bound else 200)


@member(Role.OWNER)
@require_GET
def audit(request: HttpRequest, access: Access) -> HttpResponse:
    """Who did what, cut to a person or to words."""
    events = overview.audit_events(access.team, request.GET)
    page = Paginator(events, AUDIT_ROWS).get_page(request.GET.get("page"))
    people = User.objects.filter(memberships__team=access.team).order_by("email")
    return render(request, "teams/audit.html", {"page": page, "people": people, "query": request.GET.dict()})


@member(Role.OWNER)
@require_GET
def audit_csv(request: HttpRequest, access: Access) -> HttpResponseBase:
    """The same as a file."""
    lines = csv_lines(overview.audit_rows(overview.audit_events(access.team, request.GET)))
    headers = {"Content-Disposition": f'attachment; filename="audit-{access.team.slug}.csv"'}
    return StreamingHttpResponse(streamed(lines), content_type="text/csv", headers=headers)
