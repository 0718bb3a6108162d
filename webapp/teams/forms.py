"""Forms of teams, members and accounts."""

from __future__ import annotations

from django import forms
from django.http import QueryDict

from webapp.teams.models import Role, Team, User


class TeamForm(forms.Form):
    """A new team."""

    name = forms.CharField(max_length=80, help_text="You can be in several teams. Teams share nothing.")
    sample = forms.BooleanField(
        required=False,
        initial=True,
        label="Add the sample project",
        help_text="A dataset and a grader to try.",
    )


class SettingsForm(forms.Form):
    """A team's name, retention of rollouts, and limit of running jobs (staff only)."""

    name = forms.CharField(max_length=80)
    rollouts_kept_days = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=36_500,
        label="Delete rollouts this many days after their job ends",
        help_text="Metrics, evaluations and models stay. Leave empty to keep all rollouts.",
    )
    max_running_jobs = forms.IntegerField(
        required=False, min_value=1, max_value=10_000, label="Jobs that run at once"
    )

    def __init__(self, data: QueryDict | None, *, team: Team, staff: bool, running: int) -> None:
        super().__init__(data, initial={name: getattr(team, name) for name in self.base_fields})
        limit, most = self.fields["max_running_jobs"], team.max_running_jobs
        limit.disabled = not staff
        used = f"{running} running" + (f" of {most}" if most else "")
        limit.help_text = (
            f"Now {used}. More jobs wait in the queue. Leave empty for no limit. "
            "Set by the site administrator."
        )


class InvitationForm(forms.Form):
    """An invitation to a team."""

    email = forms.EmailField(
        label="E-mail address",
        required=False,
        help_text="Only this account can join. If empty, the first person with the link can join.",
    )
    role = forms.ChoiceField(choices=Role.choices, initial=Role.EDITOR)

    def clean(self) -> None:
        super().clean()
        cleaned = self.cleaned_data
        if cleaned.get("role") == Role.OWNER and not cleaned.get("email") and "email" not in self.errors:
            self.add_error("email", "An owner's invitation needs an e-mail address.")


class RoleForm(forms.Form):
    """A member's new role."""

    role = forms.ChoiceField(choices=Role.choices)


class AccountForm(forms.ModelForm):  # type: ignore[type-arg]  # subscriptable for the type checker only
    """A user's own settings."""

    class Meta:
        model = User
        fields = ("mail_on_end", "notify_on_end", "single_keys")
