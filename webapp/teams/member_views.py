"""Views of a team's members, their roles, and invitations."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from webapp.teams import mail, services
from webapp.teams.access import Access, member, require_user
from webapp.teams.accounts import SESSION_KEY
from webapp.teams.forms import InvitationForm, RoleForm
from webapp.teams.models import Invitation, Membership, Role


@member()
def members(request: HttpRequest, access: Access) -> HttpResponse:
    """List the members. A POST by an owner invites."""
    form = InvitationForm(request.POST or None)
    if request.method == "POST":
        access.require(Role.OWNER)
        if form.is_valid():
            role = Role(form.cleaned_data["role"])
            _send_link(
                request,
                services.create_invitation(access.team, access.user, form.cleaned_data["email"], role),
            )
            return redirect("teams:members", access.team.slug)
    context = {
        "form": form,
        "memberships": access.team.memberships.select_related("user").order_by("user__email"),
        "invitations": _list_invitations(request, access),
        "roles": Role.choices,
        "mail": settings.MAIL_URL,
    }
    return render(request, "teams/members.html", context, status=422 if form.errors else 200)


def _send_link(request: HttpRequest, invitation: Invitation) -> None:
    """Send the link by e-mail if the site can, and show what the owner has to do."""
    email = invitation.email
    if not email:
        messages.success(request, "Share the link below. It admits one person and works for a week.")
    elif not settings.MAIL_URL:
        messages.success(request, f"Send the link below to {email}. It works once, for a week.")
    elif reason := mail.send_invitation(invitation, _build_link(request, invitation)):
        messages.warning(request, f"The e-mail to {email} was not sent: {reason}. Send the link yourself.")
    else:
        messages.success(request, f"The link was sent to {email}. It works once, for a week.")


def _list_invitations(request: HttpRequest, access: Access) -> list[tuple[Invitation, str]]:
    """Return open invitations with their links; empty unless the member is an owner."""
    if not access.can_own:
        return []
    invitations = services.find_open_invitations().filter(team=access.team).order_by("-id")
    return [(each, _build_link(request, each)) for each in invitations]


def _build_link(request: HttpRequest, invitation: Invitation) -> str:
    path = invitation.get_absolute_url()
    return f"{settings.SITE_URL}{path}" if settings.SITE_URL else request.build_absolute_uri(path)


def _memberships() -> QuerySet[Membership]:
    return Membership.objects.select_related("user", "team")


@member(Role.OWNER)
@require_POST
def change_role(request: HttpRequest, access: Access, membership: int) -> HttpResponse:
    """Change a member's role. Owners confirm before they lower their own."""
    found, form = access.get(_memberships(), pk=membership), RoleForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Nothing was changed. Choose a role.")
        return redirect("teams:members", access.team.slug)
    role, own = Role(form.cleaned_data["role"]), found.user == access.user
    if own and role != Role.OWNER and "sure" not in request.POST:
        return _ask_to_step_down(request, access, role)
    try:
        services.change_role(found, access.user, role)
    except services.LastOwner as error:
        messages.error(request, str(error))
    else:
        who = "You are" if own else f"{found.user} is"
        messages.success(request, f"{who} now {role.label.lower()} of {access.team}.")
    return redirect("teams:members", access.team.slug)


def _ask_to_step_down(request: HttpRequest, access: Access, role: Role) -> HttpResponse:
    context = {
        "title": f"Become {role.label.lower()} yourself?",
        "text": "You will no longer manage members. Only another owner can make you an owner again.",
        "label": f"Become {role.label.lower()}",
        "values": {"role": role.value},
        "back": reverse("teams:members", args=[access.team.slug]),
    }
    return render(request, "teams/confirm_change.html", context)


@member()
@require_POST
def remove(request: HttpRequest, access: Access, membership: int) -> HttpResponse:
    """Remove a member. Owners may remove anybody, others only themselves."""
    found = access.get(_memberships(), pk=membership)
    leaves = found.user == access.user
    if not leaves:
        access.require(Role.OWNER)
    try:
        services.remove_member(found, access.user)
    except services.LastOwner as error:
        messages.error(request, str(error))
        return redirect("teams:members", access.team.slug)
    messages.success(request, f"You left {access.team}." if leaves else f"{found.user} was removed.")
    return redirect("index") if leaves else redirect("teams:members", access.team.slug)


@member(Role.OWNER)
@require_POST
def revoke(request: HttpRequest, access: Access, invitation: int) -> HttpResponse:
    """Revoke an invitation."""
    found = access.get(services.find_open_invitations(), pk=invitation)
    services.revoke_invitation(found, access.user)
    messages.success(request, f"The link for {found.addressee} no longer works.")
    return redirect("teams:members", access.team.slug)


def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show an invitation. Anonymous users sign in or up first; POST accepts it."""
    found = services.find_open_invitations().select_related("created_by").filter(token=token).first()
    if found is None:
        return render(request, "teams/invitation.html", status=404)
    if not request.user.is_authenticated:
        request.session[SESSION_KEY] = token
        return render(request, "teams/invitation.html", {"invitation": found})
    user = require_user(request)
    is_member = found.team.memberships.filter(user=user).exists()
    allowed = services.may_accept(found, user)
    if request.method == "POST" and not is_member and allowed:
        team = services.accept_invitation(found, user)
        return redirect(team) if team else render(request, "teams/invitation.html", status=404)
    return render(
        request, "teams/invitation.html", {"invitation": found, "is_member": is_member, "allowed": allowed}
    )
