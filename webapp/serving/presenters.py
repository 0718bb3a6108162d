"""What pages show of model servers and of usage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from django.conf import settings
from django.db.models import F, Max, QuerySet, Sum
from django.http import QueryDict
from django.utils import timezone

from webapp.keys.models import ApiKey
from webapp.registry.models import BaseModel
from webapp.registry.services import list_base_models
from webapp.serving.models import ModelServer, Usage
from webapp.teams.models import Team
from webapp.work.models import WorkState

PERIODS = {"7": "7 days", "30": "30 days", "90": "90 days"}
DEFAULT_PERIOD = "30"
PLOT_WIDTH, PLOT_HEIGHT = 720, 96
SUMS = ("requests", "errors", "prompt_tokens", "completion_tokens", "milliseconds")


@dataclass(frozen=True)
class ServerStatus:
    """A base model and its server, if it ever had one."""

    base: BaseModel
    server: ModelServer | None

    @property
    def kind(self) -> str:
        """The colour of the badge."""
        if self.server is None or self.server.state == WorkState.FINISHED:
            return ""
        if self.server.state == WorkState.FAILED:
            return "error"
        return "success" if self.server.ready else "info"

    @property
    def label(self) -> str:
        """The state in a word or two."""
        server = self.server
        if server is None or server.state == WorkState.FINISHED:
            return "Stopped"
        if server.state == WorkState.RUNNING:
            return "Serving" if server.ready else "Loading"
        return "Failed" if server.state == WorkState.FAILED else "Waiting for a worker"

    @property
    def detail(self) -> str:
        """Why it waits or failed, or when it will stop; empty if there is nothing to say."""
        server = self.server
        if server is None:
            return "Starts with the first request."
        if server.state == WorkState.FAILED and server.error:
            return f"{server.error.message} {server.error.remedy}"
        if server.state == WorkState.QUEUED:
            return server.shortage
        if not server.ready:
            return "" if server.pending else "Starts with the next request."
        return "Kept warm." if server.warm else self._describe_stop(server)

    def _describe_stop(self, server: ModelServer) -> str:
        idle = (timezone.now() - server.last_used_at).total_seconds()
        minutes = max(0, settings.SERVE_IDLE_SECONDS - idle) / 60
        when = f"in {minutes:.0f} min" if minutes >= 1 else "soon"
        return f"Stops {when} if nobody uses it."

    @property
    def loaded(self) -> int:
        """The number of adapters that it holds."""
        server = self.server
        if server is None or not server.ready:
            return 0
        return sum(each.loaded_attempt == server.attempt for each in server.adapters.all())


def list_servers(team: Team) -> list[ServerStatus]:
    """Return the base models of the team, those with a server first."""
    servers = ModelServer.objects.select_related("node").prefetch_related("adapters")
    known = {server.base_model_id: server for server in servers}
    found = [ServerStatus(base, known.get(base.pk)) for base in list_base_models(team)]
    return sorted(found, key=lambda status: status.server is None)


def find_status(base: BaseModel) -> ServerStatus:
    """Return the state of one base model's server."""
    servers = ModelServer.objects.select_related("node").prefetch_related("adapters")
    return ServerStatus(base, servers.filter(base_model=base).first())


# --- usage -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """A day of the plot, in units of its view box."""

    day: date
    tokens: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class UsageQuery:
    """The filters in the query string of the page."""

    model: str
    key: str
    period: str

    @classmethod
    def read(cls, query: QueryDict) -> UsageQuery:
        """Read the filters; unknown periods become the default one."""
        period = query.get("days", "")
        return cls(
            query.get("model", ""), query.get("key", ""), period if period in PERIODS else DEFAULT_PERIOD
        )

    @property
    def first_day(self) -> date:
        return timezone.now().date() - timedelta(days=int(self.period) - 1)

    def select(self, team: Team) -> QuerySet[Usage]:
        """Return the rows of the team that fit."""
        rows = Usage.objects.filter(team=team, day__gte=self.first_day)
        if self.model:
            rows = rows.filter(model=self.model)
        return rows.filter(key__uid=self.key) if self.key else rows


def build_usage_context(team: Team, query: QueryDict) -> dict[str, object]:
    """Return what the page shows: a bar for each day, and a row for each model and key."""
    wanted = UsageQuery.read(query)
    rows = wanted.select(team)
    sums = {name: Sum(name) for name in SUMS} | {"slowest": Max("slowest_milliseconds")}
    grouped = rows.order_by().values("model", "key__name", "key__hint").annotate(**sums)
    return {
        "filters": wanted,
        "filtered": bool(query),
        "rows": list(grouped.annotate(mean=F("milliseconds") / F("requests")).order_by("-requests", "model")),
        "total": rows.aggregate(**{name: Sum(name, default=0) for name in SUMS}),
        "bars": build_bars(wanted.first_day, _sum_days(rows)),
        "plot": {"width": PLOT_WIDTH, "height": PLOT_HEIGHT},
        "models": _list_models(team),
        "keys": [(key.uid, f"{key.name} (…{key.hint})") for key in ApiKey.objects.filter(team=team)],
        "periods": list(PERIODS.items()),
    }


def _sum_days(rows: QuerySet[Usage]) -> dict[date, int]:
    days = rows.order_by().values("day").annotate(a=Sum("prompt_tokens"), b=Sum("completion_tokens"))
    return {row["day"]: row["a"] + row["b"] for row in days}


def _list_models(team: Team) -> list[tuple[str, str]]:
    names = Usage.objects.filter(team=team).order_by("model").values_list("model", flat=True).distinct()
    return [(name, name) for name in names]


def build_bars(first: date, tokens: dict[date, int]) -> list[Bar]:
    """Return a bar for each day from ``first`` to today."""
    days = [first + timedelta(days=n) for n in range((timezone.now().date() - first).days + 1)]
    most, width = max(tokens.values(), default=0) or 1, PLOT_WIDTH / len(days)
    return [
        Bar(
            day=day,
            tokens=(count := tokens.get(day, 0)),
            x=round(index * width, 1),
            y=round(PLOT_HEIGHT - (height := PLOT_HEIGHT * count / most), 1),
            width=round(width * 0.8, 1),
            height=round(height, 1),
        )
        for index, day in enumerate(days)
    ]
