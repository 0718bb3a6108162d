"""Forms of teams."""

from __future__ import annotations

from django import forms

from .models import Role


class TeamForm(forms.Form):
    """A new team."""

    name = forms.CharField(
        max_length=80, help_text="You can be in several teams; nothing is shared between them."
    )
    sample = forms.BooleanField(
        required=False,
        initial=True,
        label="Add the sample project",
        help_text="A dataset and a grader to try out.",
    )


class InvitationForm(forms.Form):
    """Somebody to let in."""

    email = forms.EmailField(label="E-mail address")
    role = forms.ChoiceField(choices=Role.choices, initial=Role.EDITOR)


class RoleForm(forms.Form):
    """A member's role to be."""

    role = forms.ChoiceField(choices=Role.choices)
