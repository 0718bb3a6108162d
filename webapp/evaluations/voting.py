"""Blind votes: people choose between two answers without knowing whose they are, and are then counted."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean

from django.db.models import F, QuerySet
from django.utils.crypto import constant_time_compare, salted_hmac

from webapp.core.statistics import bootstrap_mean, cohen_kappa
from webapp.evaluations.models import Vote
from webapp.jobs.models import ComparedRow, Evaluation
from webapp.teams.models import User
from workers.contract.statistics import FEWEST_ROWS, allow_interval

WORTH = {Vote.Preferred.TUNED: 1.0, Vote.Preferred.TIE: 0.0, Vote.Preferred.BASE: -1.0}
SIDES = ("left", "right", "tie")


@dataclass(frozen=True)
class Agreement:
    """How often people and grader prefer the same answer, where both prefer one."""

    votes: int
    same: float
    kappa: float | None


@dataclass(frozen=True)
class Results:
    """``preference`` is the share that prefers the tuned answer minus the share that prefers the base's.

    It is a mean over rows, each the mean of its votes, with a 95 % bootstrap interval over rows.
    """

    people: int
    rows: int
    tuned: int
    tie: int
    base: int
    preference: tuple[float, float | None, float | None]
    agreement: Agreement | None

    @property
    def preference_interval(self) -> dict[str, float | None]:
        """The preference as pages show intervals."""
        mean, low, high = self.preference
        return {"mean": mean, "low": low, "high": high}

    @property
    def verdict(self) -> str:
        """The result in words."""
        _, low, high = self.preference
        if low is None or high is None:
            return f"Too few rows to tell; vote on at least {FEWEST_ROWS}."
        if low > 0:
            return "People prefer the tuned model's answers."
        if high < 0:
            return "People prefer the base model's answers."
        return "The votes do not tell the two apart; more rows make the interval narrower."


# --- voting ----------------------------------------------------------------------------------------


def pairs(evaluation: Evaluation) -> QuerySet[ComparedRow]:
    """The rows on which the two models' first answers differ; of equal ones nobody can prefer one."""
    rows = evaluation.compared_rows.exclude(base=[]).exclude(tuned=[])
    named = rows.alias(base_answer=F("base__0__completion"), tuned_answer=F("tuned__0__completion"))
    return named.exclude(base_answer=F("tuned_answer"))


def next_row(evaluation: Evaluation, user: User, after: int | None = None) -> ComparedRow | None:
    """The next row without this person's vote, in an order of their own; behind the row ``after``."""
    open_rows = pairs(evaluation).exclude(votes__user=user).values_list("pk", flat=True)
    order = sorted(open_rows, key=lambda row: _dice(row, user))
    later = [row for row in order if after is None or _dice(row, user) > _dice(after, user)]
    chosen = next(iter([*later, *order]), None)
    return evaluation.compared_rows.get(pk=chosen) if chosen else None


def tuned_is_left(row: ComparedRow, user: User) -> bool:
    """Always the same for a person and a row, and as good as tossed for everybody else."""
    return int(_dice(row.pk, user)[-1], 16) % 2 == 0


def shown(row: ComparedRow, user: User) -> str:
    """What a voting page sends back with its vote, so that the sides it showed are known to still hold.

    They follow from the secret key; under another one a page that was open would count the wrong way.
    """
    return salted_hmac("webapp.evaluations.voting.shown", f"{row.pk}:{user.pk}").hexdigest()


def saw(row: ComparedRow, user: User, sent: str) -> bool:
    """Whether the page that sends this showed the sides as they are now."""
    return constant_time_compare(sent, shown(row, user))


def _dice(row: int, user: User) -> str:
    return salted_hmac("webapp.evaluations.voting", f"{row}:{user.pk}").hexdigest()


def vote(row: ComparedRow, user: User, side: str) -> Vote:
    """Keep what a person says of the answers as they saw them: ``left``, ``right`` or ``tie``."""
    preferred = Vote.Preferred.TIE
    if side != "tie":
        preferred = (
            Vote.Preferred.TUNED if (side == "left") == tuned_is_left(row, user) else Vote.Preferred.BASE
        )
    return Vote.objects.update_or_create(row=row, user=user, defaults={"preferred": preferred})[0]


def side_of(given: Vote, row: ComparedRow) -> str:
    """The vote as its person gave it."""
    if given.preferred == Vote.Preferred.TIE:
        return "tie"
    tuned = given.preferred == Vote.Preferred.TUNED
    return "left" if tuned == tuned_is_left(row, given.user) else "right"


# --- counting --------------------------------------------------------------------------------------


def votes_on(evaluation: Evaluation) -> QuerySet[Vote]:
    return Vote.objects.filter(row__evaluation=evaluation)


def votes_told(user: User, may_vote: bool) -> QuerySet[Vote]:
    """The votes that this person may know of: who may vote is told of a comparison after having voted."""
    if not may_vote:
        return Vote.objects.all()
    return Vote.objects.filter(row__evaluation__in=Evaluation.objects.filter(compared_rows__votes__user=user))


def results(evaluation: Evaluation) -> Results | None:
    """``None`` before the first vote."""
    given = list(votes_on(evaluation).values_list("row_id", "user_id", "preferred"))
    if not given:
        return None
    by_row: dict[int, list[float]] = defaultdict(list)
    for row, _, preferred in given:
        by_row[row].append(WORTH[Vote.Preferred(preferred)])
    counted = [preferred for _, _, preferred in given]
    return Results(
        people=len({user for _, user, _ in given}),
        rows=len(by_row),
        tuned=counted.count(Vote.Preferred.TUNED),
        tie=counted.count(Vote.Preferred.TIE),
        base=counted.count(Vote.Preferred.BASE),
        preference=_preference(sorted(fmean(worths) for worths in by_row.values())),
        agreement=agreement(votes_on(evaluation)),
    )


def _preference(rows: list[float]) -> tuple[float, float | None, float | None]:
    """Mean and interval. One row more for each side keeps it open where all rows say the same.

    The pseudo-observations follow Agresti and Coull (1998) and widen the interval alone, not the mean.
    """
    if not allow_interval(len(rows)):
        return fmean(rows), None, None
    _, low, high = bootstrap_mean((*rows, 1.0, -1.0))
    return fmean(rows), low, high


def agreement(votes: QuerySet[Vote]) -> Agreement | None:
    """People against the grader, over the votes for one answer on rows whose two rewards differ."""
    rewards = votes.exclude(preferred=Vote.Preferred.TIE).values_list(
        "preferred", "row__base__0__reward", "row__tuned__0__reward"
    )
    both = [
        (preferred == Vote.Preferred.TUNED, tuned > base)
        for preferred, base, tuned in rewards
        if base is not None and tuned is not None and base != tuned
    ]
    if not both:
        return None
    people, grader = [person for person, _ in both], [machine for _, machine in both]
    return Agreement(len(both), fmean(a == b for a, b in both), cohen_kappa(people, grader))
