"""Views of a user's account: notifications, shortcuts, e-mail address."""

from __future__ import annotations

from allauth.account import views as allauth_views
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from webapp.teams.access import require_user
from webapp.teams.forms import AccountForm


@login_required
def account(request: HttpRequest) -> HttpResponse:
    """Show and save the user's own settings."""
    user = require_user(request)
    form = AccountForm(request.POST or None, instance=user)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, "Settings saved.")
        return redirect("account")
    context = {
        "form": form,
        "memberships": user.memberships.select_related("team"),
        "mail": settings.MAIL_URL,
        "confirms": settings.ACCOUNT_EMAIL_VERIFICATION == "mandatory",
    }
    return render(request, "teams/account.html", context)


@login_required
def change_email(request: HttpRequest) -> HttpResponse:
    """Change the e-mail address once its link is opened. Other actions of allauth are blocked."""
    if settings.ACCOUNT_EMAIL_VERIFICATION != "mandatory":
        messages.error(request, "This site sends no e-mail, so it cannot confirm a new address.")
        return redirect("account")
    if request.method == "POST" and not {"action_add", "action_send"} & request.POST.keys():
        return redirect("account_email")
    response: HttpResponse = allauth_views.email(request)
    return response
