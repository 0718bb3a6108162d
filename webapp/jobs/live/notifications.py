"""Telling people that their jobs have ended: on the site's open pages, and by e-mail."""

from __future__ import annotations

import logging
from datetime import timedelta
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.utils import timezone

from webapp.jobs.models import Job, JobNotice
from webapp.jobs.states import State
from webapp.work import messages

log = logging.getLogger(__name__)
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)
GIVE_UP = timedelta(days=1)


def owe(job_id: int, state: State) -> None:
    """Note what the person who launched the job asked to be told. Call it where the job ends."""
    job = Job.objects.select_related("created_by").get(pk=job_id)
    user = job.created_by
    if user is None or job.interference_of_id or not (user.mail_on_end or user.notify_on_end):
        return
    if not job.team.memberships.filter(user=user).exists():
        return
    mail_at = timezone.now() if user.mail_on_end else None
    JobNotice.objects.get_or_create(job=job, user=user, defaults={"state": state, "mail_at": mail_at})
    if mail_at:
        messages.notify_workers("send_mail")


def notify_waiting() -> None:
    """Wake a worker up for e-mails that wait."""
    if JobNotice.objects.filter(mail_at__lte=timezone.now()).exists():
        messages.notify_workers("send_mail")


def send_mail() -> None:
    """Send every e-mail that is due; each is locked while it is sent, so that two workers send it once."""
    while _send_next():
        pass


@transaction.atomic
def _send_next() -> bool:
    due = JobNotice.objects.filter(mail_at__lte=timezone.now()).order_by("mail_at")
    notice = due.select_related("job__team", "user").select_for_update(skip_locked=True, of=("self",)).first()
    if notice is None:
        return False
    try:
        letter(notice).send()
    except (SMTPException, OSError) as error:
        _put_off(notice, error)
    else:
        notice.mail_at = None
    notice.save(update_fields=["mail_at", "mail_failures"])
    return True


def _put_off(notice: JobNotice, error: Exception) -> None:
    """Try again later, twice as late each time, for a day."""
    wait = min(FIRST_WAIT * 2**notice.mail_failures, LONGEST_WAIT)
    notice.mail_failures += 1
    again = timezone.now() + wait
    notice.mail_at = again if again < notice.created_at + GIVE_UP else None
    log.warning("The e-mail about %s was not sent: %s. Next try: %s.", notice.job.uid, error, notice.mail_at)


def letter(notice: JobNotice) -> EmailMessage:
    """The e-mail. Its fixed Message-ID lets mail programs drop a doubled one."""
    job, word = notice.job, State(notice.state).label.lower()
    lines = [f"{job.name} in {job.team.name} {_verb(notice.state)}."]
    if job.error:
        lines += ["", job.error.message, job.error.remedy]
    lines += [
        "",
        f"{settings.SITE_URL}{job.get_absolute_url()}",
        "",
        "You asked for this on your account page.",
    ]
    subject = " ".join(f"{job.name}: {word}".split())
    headers = {"Message-ID": f"<{job.uid}.{notice.user_id}@groove>", "Auto-Submitted": "auto-generated"}
    return EmailMessage(subject, "\n".join(lines), to=[notice.user.email], headers=headers)


def _verb(state: str) -> str:
    return {State.SUCCEEDED: "has succeeded", State.FAILED: "has failed"}.get(State(state), "was cancelled")
