"""A model's lineage: what made it, what came from it, and where each of them stands in the drawing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from django.urls import reverse

from webapp.datasets.models import DatasetVersion
from webapp.endpoints.models import Endpoint
from webapp.graders.models import GraderVersion
from webapp.jobs.launch.job_tasks import choices_of
from webapp.jobs.models import Job
from webapp.registry.models import TunedModel
from workers import grading

WIDTH, HEIGHT = 164, 64
GAP_X, GAP_Y = 26, 12
MARGIN = 4  # room for the focus ring of the outermost
LINE = 23  # characters that fit into a node
BREAKS = " :/-_"
FOLDED = 5  # of one kind; more are only in the list
ONWARD = 20
THE_LIST = "#made-of"


@dataclass(frozen=True)
class Node:
    """One thing in the lineage. Without an address it is this model, or was deleted."""

    kind: str
    label: str
    href: str = ""
    note: str = ""
    detail: str = ""
    here: bool = False

    @property
    def deleted(self) -> bool:
        return not (self.href or self.here)

    @property
    def lines(self) -> list[str]:
        """The label in one or two lines, the second shortened in its middle."""
        if len(self.label) <= LINE:
            return [self.label]
        cut = 1 + max((self.label.rfind(mark, 0, LINE) for mark in BREAKS), default=-1)
        cut = cut if cut > LINE // 2 else LINE
        rest = self.label[cut:].strip()
        if len(rest) > LINE:
            rest = f"{rest[: LINE // 2 - 1]}…{rest[-LINE // 2 :]}"
        return [self.label[:cut].strip(), rest]


Edges = list[tuple[Node, Node]]  # cause, effect
Groups = list[tuple[str, list[Node]]]  # title, what stands under it

# --- drawing ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Placed:
    """A node and its upper left corner, in pixels."""

    node: Node
    x: int
    y: int

    @property
    def texts(self) -> list[tuple[int, str]]:
        """(baseline, line) of the label."""
        lines = self.node.lines
        return list(zip((39, 55) if len(lines) > 1 else (44,), lines, strict=True))


@dataclass(frozen=True)
class Drawing:
    """Nodes in columns, and the curves (SVG paths) from each to what was made of it."""

    placed: list[Placed]
    curves: list[str]
    width: int
    height: int
    box = (WIDTH, HEIGHT)
    frame = (WIDTH - 2, HEIGHT - 2)


def arranged(nodes: Sequence[Node], edges: Edges) -> Drawing:
    """Causes left of effects: a node stands as many columns from the right as its longest way has steps."""
    ways = {node: _way(node, edges) for node in nodes}
    last = max(ways.values(), default=0)
    columns = [[node for node in nodes if ways[node] == last - place] for place in range(last + 1)]
    tallest = max(len(column) for column in columns)
    height = tallest * (HEIGHT + GAP_Y) - GAP_Y
    at = {
        node: Placed(node, MARGIN + place * (WIDTH + GAP_X), _top(column, height) + row * (HEIGHT + GAP_Y))
        for place, column in enumerate(columns)
        for row, node in enumerate(column)
    }
    return Drawing(
        placed=[at[node] for node in nodes],
        curves=[_curve(at[cause], at[effect]) for cause, effect in edges],
        width=len(columns) * (WIDTH + GAP_X) - GAP_X + 2 * MARGIN,
        height=height + 2 * MARGIN,
    )


def _way(node: Node, edges: Edges) -> int:
    """Steps of the longest way from the node to an end."""
    return max((1 + _way(effect, edges) for cause, effect in edges if cause == node), default=0)


def _top(column: Sequence[Node], height: int) -> int:
    return MARGIN + (height - len(column) * (HEIGHT + GAP_Y) + GAP_Y) // 2


def _curve(cause: Placed, effect: Placed) -> str:
    x, y = cause.x + WIDTH, cause.y + HEIGHT // 2
    end, level = effect.x, effect.y + HEIGHT // 2
    bend = (x + end) // 2
    return f"M{x} {y}C{bend} {y} {bend} {level} {end} {level}"


# --- what made it, what came from it ---------------------------------------------------------------


@dataclass(frozen=True)
class Lineage:
    """The drawing, and the same in words: (title, nodes) of what made the model, then the jobs after it."""

    drawing: Drawing
    made_of: Groups
    onward: list[tuple[Node, Node | None]]
    more: bool


def of(model: TunedModel) -> Lineage:
    """Sources, job and checkpoint, the model, and the jobs and models that went on from it."""
    job: Job | None = getattr(model, "job", None)
    groups, judged = _made_of(model, job)
    way = [*(_steps(job) if job else []), _this(model)]
    came = list(model.continued_by.select_related("team", "tuned_model__team").order_by("-id")[: ONWARD + 1])
    onward = [(_job(child), _model(child.tuned_model) if child.tuned_model else None) for child in came]
    return Lineage(
        drawing=_drawing(groups, judged, way, _folded([made or going for going, made in onward])),
        made_of=[
            *groups,
            *([("Judge", _unique(judge for judge, _ in judged))] if judged else []),
            *((node.kind, [node]) for node in way[:-1]),
        ],
        onward=onward[:ONWARD],
        more=len(came) > ONWARD,
    )


def _drawing(groups: Groups, judged: Edges, way: list[Node], children: list[Node]) -> Drawing:
    shown = [node for _, nodes in groups for node in _folded(nodes)]
    judged = [(judge, grader) for judge, grader in judged if grader in shown]
    edges = [*judged, *((node, way[0]) for node in shown), *pairwise(way)]
    nodes = [*_unique(judge for judge, _ in judged), *shown, *way, *children]
    return arranged(nodes, [*edges, *((way[-1], child) for child in children)])


def _made_of(model: TunedModel, job: Job | None) -> tuple[Groups, Edges]:
    """What stood at the beginning, by its title, and (judge, the grader that asks it)."""
    place = f"{reverse('registry:bases', args=[model.team.slug])}#{model.base_model.uid}"
    base = Node("Base model", model.base_model.model_id, place, detail=model.base_model.revision)
    groups: Groups = [("Base model", [base])]
    if job is None:
        return groups, []
    if job.start:
        groups.append(("Continues", [_model(job.start, "Parent model")]))
    tasks = choices_of(job)
    graders = {task.grader_version: _grader(job, task.grader_version) for task in tasks}
    groups.append(("Dataset", _unique(_dataset(job, task.dataset_version) for task in tasks)))
    groups.append(("Grader", _unique(graders.values())))
    return groups, _judges(job, graders)


def _this(model: TunedModel) -> Node:
    return Node("This model", model.name, note="deleted" if model.deleted_at else "", here=True)


def _model(model: TunedModel, kind: str = "Model") -> Node:
    return Node(kind, model.name, "" if model.deleted_at else model.get_absolute_url())


def _job(job: Job) -> Node:
    return Node("Job", job.name, job.get_absolute_url(), job.get_state_display().lower())


def _steps(job: Job) -> list[Node]:
    """The job, and the last checkpoint that the model came by."""
    if job.promoted_step is not None:
        return _promotion_steps(job)
    steps = [Node("Job", job.name, job.get_absolute_url())]
    if saved := job.checkpoints.filter(step__lte=job.step).first():
        label = f"step {saved.step} of {job.step}"
        steps.append(Node("Checkpoint", label, f"{job.get_absolute_url()}#checkpoints-title"))
    return steps


def _promotion_steps(job: Job) -> list[Node]:
    """The job that trained, its checkpoint, and the job that made a model of the checkpoint."""
    source, label = job.promoted_from, f"step {job.promoted_step} of {job.total_steps}"
    place = source.get_absolute_url() if source else ""
    return [
        *([Node("Job", source.name, place)] if source else []),
        Node("Checkpoint", label, f"{place}#checkpoints-title" if place else ""),
        Node("Promotion", job.name, job.get_absolute_url()),
    ]


def _dataset(job: Job, version: DatasetVersion) -> Node:
    data = version.dataset
    place = reverse("datasets:version", args=[job.team.slug, data.uid, version.number])
    opened, end = version.test_opened_at, job.finished_at
    note = "test split opened" if opened and (end is None or opened < end) else ""
    return Node("Dataset", str(version), "" if data.deleted_at else place, note, version.sha256)


def _grader(job: Job, version: GraderVersion) -> Node:
    grader = version.grader
    place = reverse("graders:version", args=[job.team.slug, grader.uid, version.number])
    return Node("Grader", str(version), "" if grader.deleted_at else place, detail=version.sha256)


def _judges(job: Job, graders: dict[GraderVersion, Node]) -> Edges:
    asked = [
        (name, node) for version, node in graders.items() for name in grading.judge_models(version.parsed)
    ]
    if not asked:
        return []
    known = Endpoint.objects.filter(team=job.team, deleted_at=None, name__in={name for name, _ in asked})
    names, place = set(known.values_list("name", flat=True)), reverse("judges:list", args=[job.team.slug])
    return [(Node("Judge model", name, place if name in names else ""), grader) for name, grader in asked]


def _unique(nodes: Iterable[Node]) -> list[Node]:
    return list(dict.fromkeys(nodes))


def _folded(nodes: Sequence[Node]) -> list[Node]:
    if len(nodes) <= FOLDED:
        return list(nodes)
    return [*nodes[: FOLDED - 1], Node(nodes[0].kind, "and others, in the list below", THE_LIST)]
