"""Blind votes: people choose between two completions without knowing the models; the votes are counted."""

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

VALUES = {Vote.Preferred.TUNED: 1.0, Vote.Preferred.TIE: 0.0, Vote.Preferred.BASE: -1.0}
SIDES = ("left", "right", "tie")


@dataclass(frozen=True)
class Agreement:
    """Agreement of people and grader, over votes where both prefer one completion."""

    votes: int
    same: float
    kappa: float | None


@dataclass(frozen=True)
class Results:
    """``preference`` is the share that prefers the tuned completion minus the share that prefers the base's.

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
        """The preference as an interval for pages."""
        mean, low, high = self.preference
        return {"mean": mean, "low": low, "high": high}

    @property
    def verdict(self) -> str:
        """The result in words."""
        _, low, high = self.preference
        if low is None or high is None:
            return f"Too few rows to tell. Vote on at least {FEWEST_ROWS} rows."
        if low > 0:
            return "People prefer the tuned model's answers."
        if high < 0:
            return "People prefer the base model's answers."
        return "The votes do not show which model people prefer. Vote on more rows to narrow the interval."


# --- voting ----------------------------------------------------------------------------------------


def list_votable_rows(evaluation: Evaluation) -> QuerySet[ComparedRow]:
    """Return the rows on which the first completions of the two models differ."""
    rows = evaluation.compared_rows.exclude(base=[]).exclude(tuned=[])
    named = rows.alias(base_answer=F("base__0__completion"), tuned_answer=F("tuned__0__completion"))
    return named.exclude(base_answer=F("tuned_answer"))


def find_next_row(evaluation: Evaluation, user: User, after: int | None = None) -> ComparedRow | None:
    """Return the next row without the user's vote, behind the row ``after``. Each user has another order."""
    open_rows = list_votable_rows(evaluation).exclude(votes__user=user).values_list("pk", flat=True)
    order = sorted(open_rows, key=lambda row: _draw(row, user))
    later = [row for row in order if after is None or _draw(row, user) > _draw(after, user)]
    following = next(iter([*later, *order]), None)
    return evaluation.compared_rows.get(pk=following) if following else None


def tuned_is_left(row: ComparedRow, user: User) -> bool:
    """Return True if the tuned completion is left: fixed for a user and a row, random over users and rows."""
    return int(_draw(row.pk, user)[-1], 16) % 2 == 0


def sign_sides(row: ComparedRow, user: User) -> str:
    """Return a signature that a voting page sends with its vote, to prove that its sides are still valid.

    The sides follow from the secret key: after a change of the key, an open page shows them wrongly.
    """
    return salted_hmac("webapp.evaluations.voting.sign_sides", f"{row.pk}:{user.pk}").hexdigest()


def are_sides_valid(row: ComparedRow, user: User, signature: str) -> bool:
    """Return True if the page with this signature showed the sides as they are now."""
    return constant_time_compare(signature, sign_sides(row, user))


def _draw(row: int, user: User) -> str:
    """Return a pseudo-random number for a row and a user, in hex."""
    return salted_hmac("webapp.evaluations.voting", f"{row}:{user.pk}").hexdigest()


def save_vote(row: ComparedRow, user: User, side: str) -> Vote:
    """Store a vote for the ``left`` or ``right`` completion, as the user saw them, or a ``tie``."""
    preferred = Vote.Preferred.TIE
    if side != "tie":
        preferred = (
            Vote.Preferred.TUNED if (side == "left") == tuned_is_left(row, user) else Vote.Preferred.BASE
        )
    return Vote.objects.update_or_create(row=row, user=user, defaults={"preferred": preferred})[0]


def find_side(vote: Vote, row: ComparedRow) -> str:
    """Return the side that the user voted for."""
    if vote.preferred == Vote.Preferred.TIE:
        return "tie"
    tuned = vote.preferred == Vote.Preferred.TUNED
    return "left" if tuned == tuned_is_left(row, vote.user) else "right"


# --- counting --------------------------------------------------------------------------------------


def list_votes(evaluation: Evaluation) -> QuerySet[Vote]:
    return Vote.objects.filter(row__evaluation=evaluation)


def list_visible_votes(user: User, may_vote: bool) -> QuerySet[Vote]:
    """Return the votes that the user may see: those who may vote see them after their own first vote."""
    if not may_vote:
        return Vote.objects.all()
    return Vote.objects.filter(row__evaluation__in=Evaluation.objects.filter(compared_rows__votes__user=user))


def count_votes(evaluation: Evaluation) -> Results | None:
    """Return the results; ``None`` before the first vote."""
    votes = list(list_votes(evaluation).values_list("row_id", "user_id", "preferred"))
    if not votes:
        return None
    by_row: dict[int, list[float]] = defaultdict(list)
    for row, _, preferred in votes:
        by_row[row].append(VALUES[Vote.Preferred(preferred)])
    counted = [preferred for _, _, preferred in votes]
    return Results(
        people=len({user for _, user, _ in votes}),
        rows=len(by_row),
        tuned=counted.count(Vote.Preferred.TUNED),
        tie=counted.count(Vote.Preferred.TIE),
        base=counted.count(Vote.Preferred.BASE),
        preference=_measure_preference(sorted(fmean(values) for values in by_row.values())),
        agreement=measure_agreement(list_votes(evaluation)),
    )


def _measure_preference(rows: list[float]) -> tuple[float, float | None, float | None]:
    """Return mean and interval.

    One more row for each side keeps the interval from closing if all rows agree. These pseudo-observations
    follow Agresti and Coull (1998); they widen the interval and leave the mean.
    """
    if not allow_interval(len(rows)):
        return fmean(rows), None, None
    _, low, high = bootstrap_mean((*rows, 1.0, -1.0))
    return fmean(rows), low, high


def measure_agreement(votes: QuerySet[Vote]) -> Agreement | None:
    """Return the agreement of people and grader, over votes for a side on rows whose two rewards differ."""
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
    people, grader = [by_people for by_people, _ in both], [by_grader for _, by_grader in both]
    return Agreement(len(both), fmean(a == b for a, b in both), cohen_kappa(people, grader))
