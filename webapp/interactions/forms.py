"""Forms of interactions: their rules, and corrections."""

from __future__ import annotations

import phonenumbers
from django import forms
from django.http import QueryDict

from webapp.core.fields import replace_nul
from webapp.interactions.feedback import MOST_CHARACTERS, TEXTS
from webapp.interactions.models import ConsentRule, InteractionRules
from webapp.interactions.redaction.patterns import MOST, NAME, PatternInvalid, check_pattern
from webapp.interactions.redaction.recognizers import KINDS
from webapp.interactions.rules import THUMB

KINDS_OF_METRICS = ("boolean", "float")
LONGEST_RETENTION = 3650  # days


class CorrectionForm(forms.Form):
    """The text that the model should have written."""

    text = forms.CharField(
        max_length=MOST_CHARACTERS, widget=forms.Textarea(attrs={"rows": 8}), label="What it should have said"
    )


class RulesForm(forms.Form):
    """A team's rules of consent, retention, redaction and metrics."""

    consent_rule = forms.ChoiceField(choices=ConsentRule.choices, label="Who decides about training")
    retention_days = forms.IntegerField(
        min_value=1,
        max_value=LONGEST_RETENTION,
        label="Keep interactions for (days)",
        help_text="Then they are deleted. A shorter time also applies to those that are kept already.",
    )
    kinds = forms.MultipleChoiceField(
        choices=[(kind, recognizer.label) for kind, recognizer in KINDS.items()],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        label="Replace before anything is stored",
        help_text="Best effort: names, street addresses and much else pass unchanged.",
    )
    phone_region = forms.CharField(
        max_length=2,
        required=False,
        label="Country of telephone numbers",
        help_text="Two letters, such as DE: also finds numbers without a country code.",
    )
    patterns = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "class": "font-mono", "spellcheck": "false"}),
        label="Your own patterns",
        help_text="One a line: a name, a colon, a regular expression. "
        "“customer: K-\\d{6}” puts <CUSTOMER_1> in place of K-123456.",
    )
    metrics = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "font-mono"}),
        label="Metrics of feedback",
        help_text="One a line: a name, a colon, boolean or float. “thumb”, “comment”, “demonstration” and "
        "“edit” are always there.",
    )

    def __init__(self, data: QueryDict | None, *, rules: InteractionRules) -> None:
        names = ("consent_rule", "retention_days", "kinds", "phone_region")
        initial = {name: getattr(rules, name) for name in names}
        initial |= {name: _join_lines(getattr(rules, name)) for name in ("patterns", "metrics")}
        super().__init__(data, initial=initial)

    def clean_phone_region(self) -> str:
        region = str(self.cleaned_data["phone_region"]).upper()
        if region and region not in phonenumbers.SUPPORTED_REGIONS:
            raise forms.ValidationError("This is no country code of two letters.")
        return region

    def clean_patterns(self) -> dict[str, str]:
        patterns = _read_lines(self.cleaned_data["patterns"])
        if len(patterns) > MOST:
            raise forms.ValidationError(f"A team has at most {MOST} patterns.")
        try:
            for name, pattern in patterns.items():
                check_pattern(name, pattern)
        except PatternInvalid as error:
            raise forms.ValidationError(str(error)) from error
        return patterns

    def clean_metrics(self) -> dict[str, str]:
        metrics = _read_lines(self.cleaned_data["metrics"])
        for name, kind in metrics.items():
            if not NAME.fullmatch(name) or name in (*TEXTS, THUMB):
                raise forms.ValidationError(f"{name!r} cannot name a metric.")
            if kind not in KINDS_OF_METRICS:
                raise forms.ValidationError(f"{name}: write boolean or float, not {kind!r}.")
        return metrics


def _join_lines(pairs: dict[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in pairs.items())


def _read_lines(text: str) -> dict[str, str]:
    """Parse lines of ``name: value``. Raises ValidationError."""
    pairs: dict[str, str] = {}
    for line in filter(None, (line.strip() for line in replace_nul(text).splitlines())):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not name or not value:
            raise forms.ValidationError(
                f"Write a name, a colon and a value: {line[:80]!r} is something else."
            )
        if name in pairs:
            raise forms.ValidationError(f"{name} stands twice.")
        pairs[name] = value
    return pairs
