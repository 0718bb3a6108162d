"""Pages of one person: what Groove may tell, how its keys work, and the palette."""

from __future__ import annotations

from allauth.account import views as allauth_views
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from webapp.config.input_checks import GREATEST, whole_number
from webapp.jobs.models import JobNotice
from webapp.jobs.states import State
from webapp.teams import palette
from webapp.teams.access import Access, member, signed_in
from webapp.teams.forms import AccountForm

NOTICES = 20


@login_required
def account(request: HttpRequest) -> HttpResponse:
    """A person's own settings."""
    user = signed_in(request)
    form = AccountForm(request.POST or None, instance=user)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, "Your settings are saved.")
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
    """Ask for a new address, which replaces the old one once its link was opened; nothing else."""
    if settings.ACCOUNT_EMAIL_VERIFICATION != "mandatory":
        messages.error(request, "This site sends no mail, so it cannot confirm another address.")
        return redirect("account")
    if request.method == "POST" and not {"action_add", "action_send"} & request.POST.keys():
        return redirect("account_email")
    response: HttpResponse = allauth_views.email(request)
    return response


@login_required
def ended(request: HttpRequest) -> JsonResponse:
    """The signed-in person's jobs that have ended since ``after``, for notifications of the browser."""
    notices = JobNotice.objects.filter(user=signed_in(request)).select_related("job__team").order_by("-id")
    after = whole_number(request.GET.get("after"), GREATEST)
    last = notices.values_list("id", flat=True).first() or 0
    if after is None:
        return JsonResponse({"last": last, "ended": []})
    found = [
        {"title": f"{notice.job.name}: {State(notice.state).label.lower()}", "team": notice.job.team.name,
         "url": notice.job.get_absolute_url(), "failed": notice.state == State.FAILED}
        for notice in notices.filter(id__gt=after)[:NOTICES]
    ]  # fmt: skip
    return JsonResponse({"last": last, "ended": found})


@member()
def search(request: HttpRequest, access: Access) -> HttpResponse:
    """The command palette's answers; without htmx, a page of their own."""
    text = request.GET.get("q", "")
    context = {"q": text, "groups": palette.find(access, text)}
    part = "#results" if request.htmx else ""  # type: ignore[attr-defined]
    return render(request, f"teams/search.html{part}", context)
