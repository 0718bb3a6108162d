"""Notices that jobs have ended: in the browser, by e-mail with retries, and to webhooks."""

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
from webapp.webhooks import deliveries
from webapp.webhooks.models import EventType
from webapp.work import messages

log = logging.getLogger(__name__)
FIRST_RETRY = timedelta(seconds=30)
MAX_RETRY = timedelta(hours=1)
GIVE_UP = timedelta(days=1)
ENDINGS = {
    State.SUCCEEDED: "has succeeded",
    State.FAILED: "has failed",
    State.CANCELLED: "was cancelled",
}


def create_notice(job_id: int, state: State) -> None:
    """Create the notice of an ended job if the person who launched it wants one.

    Call it in the transaction that ends the job, so that no notice is lost or created too early.
    """
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


def create_webhook_event(job_id: int, state: State) -> None:
    """Create the webhook event of an ended job. Call it in the transaction that ends the job."""
    job = Job.objects.only("team_id", "uid", "interference_of_id").get(pk=job_id)
    if not job.interference_of_id:
        deliveries.create_event(job.team_id, EventType(f"fine_tuning.job.{state}"), job.uid)


def notify_waiting() -> None:
    """Wake a worker if an e-mail is due."""
    if JobNotice.objects.filter(mail_at__lte=timezone.now()).exists():
        messages.notify_workers("send_mail")


def send_mail() -> None:
    """Send all due e-mails. A lock on each notice keeps two workers from sending it twice."""
    while _send_next():
        pass


@transaction.atomic
def _send_next() -> bool:
    due = JobNotice.objects.filter(mail_at__lte=timezone.now()).order_by("mail_at")
    notice = due.select_related("job__team", "user").select_for_update(skip_locked=True, of=("self",)).first()
    if notice is None:
        return False
    try:
        if notice.job.team.memberships.filter(user=notice.user).exists():  # they may have left meanwhile
            build_email(notice).send()
    except (SMTPException, OSError) as error:
        _postpone(notice, error)
    else:
        notice.mail_at = None
    notice.save(update_fields=["mail_at", "mail_failures"])
    return True


def _postpone(notice: JobNotice, error: Exception) -> None:
    """Set the next try: after 30 s, then twice as long each time, until a day has passed."""
    wait = min(FIRST_RETRY * 2**notice.mail_failures, MAX_RETRY)
    notice.mail_failures += 1
    retry_at = timezone.now() + wait
    notice.mail_at = retry_at if retry_at < notice.created_at + GIVE_UP else None
    log.warning("The e-mail about %s was not sent: %s. Next try: %s.", notice.job.uid, error, notice.mail_at)


def build_email(notice: JobNotice) -> EmailMessage:
    """Return the e-mail. Its fixed Message-ID lets mail programs drop a duplicate."""
    job, state = notice.job, State(notice.state).label.lower()
    lines = [f"{job.name} in {job.team.name} {ENDINGS[State(notice.state)]}."]
    if job.error:
        lines += ["", job.error.message, job.error.remedy]
    lines += [
        "",
        f"{settings.SITE_URL}{job.get_absolute_url()}",
        "",
        "You can turn these e-mails off on your account page.",
    ]
    subject = " ".join(f"{job.name}: {state}".split())
    headers = {"Message-ID": f"<{job.uid}.{notice.user_id}@groove>", "Auto-Submitted": "auto-generated"}
    return EmailMessage(subject, "\n".join(lines), to=[notice.user.email], headers=headers)
