"""A base model without a chat template gets one in the form, tested before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from webapp.jobs.errors import SettingsInvalid
from webapp.jobs.launch.service import check_settings
from webapp.registry.forms import BaseModelForm
from webapp.registry.models import BaseModel
from webapp.teams.models import Team, User
from workers.contract.base_models import chat_templates

SignIn = Callable[[User], Client]
ENDLESS = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"  # and writes nothing
)
REFUSED = {
    "{{ messages": "unexpected end of template",
    "hello": "does not show the user",
    "{% for m in messages %}{{ m['content'] }}{% endfor %}": "no generation prompt",
    "{{ ''.__class__.__mro__ }}": "is unsafe",
}


def sent(team: Team, **changes: str) -> BaseModelForm:
    return BaseModelForm({"model_id": "acme/base", "chat_template": "typed"} | changes, team=team)


@pytest.mark.parametrize("key", list(chat_templates.SHIPPED))
def test_every_shipped_template_renders_and_ends_in_a_generation_prompt(key: str) -> None:
    template = chat_templates.SHIPPED[key][1]
    chat_templates.check(template)
    talk = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    text = chat_templates.render(
        template, [*talk, {"role": "user", "content": "three"}], add_generation_prompt=True
    )
    assert text.index("one") < text.index("two") < text.index("three") < len(text.rstrip()) - len("three")


@pytest.mark.parametrize(("template", "reason"), REFUSED.items())
def test_a_template_of_no_use_is_refused_beside_its_field(team: Team, template: str, reason: str) -> None:
    form = sent(team, typed_template=template)
    assert not form.is_valid()
    assert reason in form.errors["typed_template"][0]


def test_a_template_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_templates, "CHECK_SECONDS", 1)
    with pytest.raises(chat_templates.TemplateUnbounded, match="does not end"):
        chat_templates.check(ENDLESS)


def test_a_chosen_template_is_stored_and_shown(team: Team, alice: User, as_user: SignIn) -> None:
    address = reverse("registry:bases", args=[team.slug])
    given = {
        "model_id": "acme/base",
        "chat_template": "chatml",
        "template_arguments": '{"enable_thinking": false}',
    }
    assert as_user(alice).post(address, given).status_code == 302
    base = BaseModel.objects.get(model_id="acme/base")
    assert base.chat_template == chat_templates.CHATML
    assert base.template_arguments == {"enable_thinking": False}
    page = as_user(alice).get(address).text
    assert "&lt;|im_start|&gt;" in page
    assert "enable_thinking" in page


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [("[1]", "JSON object"), ("{", "JSON object"), ('{"messages": 1}', "cannot be a template argument")],
)
def test_arguments_are_an_object_that_rendering_does_not_use(team: Team, arguments: str, reason: str) -> None:
    form = BaseModelForm({"model_id": "acme/base", "template_arguments": arguments}, team=team)
    assert not form.is_valid()
    assert reason in form.errors["template_arguments"][0]


def test_a_typed_template_that_is_not_chosen_is_not_dropped_in_silence(team: Team) -> None:
    form = sent(team, chat_template="", typed_template=chat_templates.CHATML)
    assert not form.is_valid()
    assert "Typed below" in form.errors["chat_template"][0]


def test_a_job_has_template_arguments_and_says_what_graders_see() -> None:
    given = {"chat": {"template_arguments": {"reasoning_effort": "low"}, "grade": "whole"}}
    chat = check_settings(given).chat.model_dump()
    assert chat == {"grade": "whole", "template_arguments": {"reasoning_effort": "low"}}
    with pytest.raises(SettingsInvalid) as caught:
        check_settings({"chat": {"template_arguments": {"tools": []}}})
    assert "chat.template_arguments" in caught.value.errors
