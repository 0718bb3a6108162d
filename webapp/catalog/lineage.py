"""A model's lineage: what made it, what came from it, and the drawing of both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from django.urls import reverse

from webapp.datasets.models import DatasetVersion
from webapp.endpoints.models import Endpoint
from webapp.graders.models import GraderVersion
from webapp.jobs.launch.request import task_choices
from webapp.jobs.models import Job
from webapp.registry.models import TunedModel
from workers import grading

WIDTH, HEIGHT = 164, 64
GAP_X, GAP_Y = 26, 12
MARGIN = 4  # room for the focus ring of the outermost
LINE_CHARACTERS = 23  # fit into a node
BREAKS = " :/-_"
MOST_DRAWN = 5  # nodes of one kind; more are only in the list
MOST_DESCENDANTS = 20
LIST_ANCHOR = "#made-of"


@dataclass(frozen=True)
class Node:
    """An object in the lineage. One without a URL is this model, or was deleted."""

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
        if len(self.label) <= LINE_CHARACTERS:
            return [self.label]
        cut = 1 + max((self.label.rfind(mark, 0, LINE_CHARACTERS) for mark in BREAKS), default=-1)
        cut = cut if cut > LINE_CHARACTERS // 2 else LINE_CHARACTERS
        rest = self.label[cut:].strip()
        if len(rest) > LINE_CHARACTERS:
            rest = f"{rest[: LINE_CHARACTERS // 2 - 1]}…{rest[-LINE_CHARACTERS // 2 :]}"
        return [self.label[:cut].strip(), rest]


Edges = list[tuple[Node, Node]]  # cause, effect
Groups = list[tuple[str, list[Node]]]  # title, nodes

# --- drawing ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlacedNode:
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
    """Nodes in columns, and curves (SVG paths) from each node to what was made from it."""

    placed: list[PlacedNode]
    curves: list[str]
    width: int
    height: int
    box = (WIDTH, HEIGHT)
    frame = (WIDTH - 2, HEIGHT - 2)


def draw(nodes: Sequence[Node], edges: Edges) -> Drawing:
    """Draw causes left of effects: a node's column, from the right, is the length of its longest path."""
    lengths = {node: _measure_longest_path(node, edges) for node in nodes}
    last = max(lengths.values(), default=0)
    columns = [[node for node in nodes if lengths[node] == last - index] for index in range(last + 1)]
    tallest = max(len(column) for column in columns)
    height = tallest * (HEIGHT + GAP_Y) - GAP_Y
    placed: dict[Node, PlacedNode] = {}
    for index, column in enumerate(columns):
        top = MARGIN + (height - len(column) * (HEIGHT + GAP_Y) + GAP_Y) // 2
        for row, node in enumerate(column):
            x, y = MARGIN + index * (WIDTH + GAP_X), top + row * (HEIGHT + GAP_Y)
            placed[node] = PlacedNode(node, x, y)
    return Drawing(
        placed=[placed[node] for node in nodes],
        curves=[_draw_curve(placed[cause], placed[effect]) for cause, effect in edges],
        width=len(columns) * (WIDTH + GAP_X) - GAP_X + 2 * MARGIN,
        height=height + 2 * MARGIN,
    )


def _measure_longest_path(node: Node, edges: Edges) -> int:
    """Return the number of edges on the longest path from the node to an end."""
    lengths = (1 + _measure_longest_path(effect, edges) for cause, effect in edges if cause == node)
    return max(lengths, default=0)


def _draw_curve(cause: PlacedNode, effect: PlacedNode) -> str:
    x, y = cause.x + WIDTH, cause.y + HEIGHT // 2
    end, level = effect.x, effect.y + HEIGHT // 2
    bend = (x + end) // 2
    return f"M{x} {y}C{bend} {y} {bend} {level} {end} {level}"


# --- what made it, what came from it ---------------------------------------------------------------


@dataclass(frozen=True)
class Lineage:
    """The drawing, and the same as lists: sources of the model, and jobs that continued from it."""

    drawing: Drawing
    made_of: Groups
    descendants: list[tuple[Node, Node | None]]
    more: bool


def build_lineage(model: TunedModel) -> Lineage:
    """Return the sources, the job and checkpoint, the model, and the jobs and models made from it."""
    job: Job | None = getattr(model, "job", None)
    groups, judging = _list_sources(model, job)
    this = Node("This model", model.name, note="deleted" if model.deleted_at else "", here=True)
    chain = [*(_list_steps(job) if job else []), this]
    children = model.continued_by.select_related("team", "tuned_model__team").order_by("-id")
    newest = list(children[: MOST_DESCENDANTS + 1])
    descendants = [
        (_build_job(child), _build_model(child.tuned_model) if child.tuned_model else None)
        for child in newest
    ]
    return Lineage(
        drawing=_draw_lineage(groups, judging, chain, _fold([made or job for job, made in descendants])),
        made_of=[
            *groups,
            *([("Judge", _unique(judge for judge, _ in judging))] if judging else []),
            *((node.kind, [node]) for node in chain[:-1]),
        ],
        descendants=descendants[:MOST_DESCENDANTS],
        more=len(newest) > MOST_DESCENDANTS,
    )


def _draw_lineage(groups: Groups, judging: Edges, chain: list[Node], children: list[Node]) -> Drawing:
    sources = [node for _, nodes in groups for node in _fold(nodes)]
    judging = [(judge, grader) for judge, grader in judging if grader in sources]
    edges = [*judging, *((node, chain[0]) for node in sources), *pairwise(chain)]
    nodes = [*_unique(judge for judge, _ in judging), *sources, *chain, *children]
    return draw(nodes, [*edges, *((chain[-1], child) for child in children)])


def _list_sources(model: TunedModel, job: Job | None) -> tuple[Groups, Edges]:
    """Return the sources by title, and edges from judges to the graders that ask them."""
    url = f"{reverse('registry:bases', args=[model.team.slug])}#{model.base_model.uid}"
    base = Node("Base model", model.base_model.model_id, url, detail=model.base_model.revision)
    groups: Groups = [("Base model", [base])]
    if job is None:
        return groups, []
    if job.initial_adapter:
        groups.append(("Initial adapter", [_build_model(job.initial_adapter, "Parent model")]))
    tasks = task_choices(job)
    graders = {task.grader_version: _build_grader(job, task.grader_version) for task in tasks}
    groups.append(("Dataset", _unique(_build_dataset(job, task.dataset_version) for task in tasks)))
    groups.append(("Grader", _unique(graders.values())))
    return groups, _list_judges(job, graders)


def _build_model(model: TunedModel, kind: str = "Model") -> Node:
    return Node(kind, model.name, "" if model.deleted_at else model.get_absolute_url())


def _build_job(job: Job) -> Node:
    return Node("Job", job.name, job.get_absolute_url(), job.get_state_display().lower())


def _list_steps(job: Job) -> list[Node]:
    """Return the job and its last checkpoint before the model."""
    if job.promoted_step is not None:
        return _list_promotion_steps(job)
    steps = [Node("Job", job.name, job.get_absolute_url())]
    if saved := job.checkpoints.filter(step__lte=job.step).first():
        label = f"step {saved.step} of {job.step}"
        steps.append(Node("Checkpoint", label, f"{job.get_absolute_url()}#checkpoints-title"))
    return steps


def _list_promotion_steps(job: Job) -> list[Node]:
    """Return the job that trained, its checkpoint, and the job that made a model of the checkpoint."""
    source, label = job.promoted_from, f"step {job.promoted_step} of {job.total_steps}"
    url = source.get_absolute_url() if source else ""
    return [
        *([Node("Job", source.name, url)] if source else []),
        Node("Checkpoint", label, f"{url}#checkpoints-title" if url else ""),
        Node("Promotion", job.name, job.get_absolute_url()),
    ]


def _build_dataset(job: Job, version: DatasetVersion) -> Node:
    data = version.dataset
    url = reverse("datasets:version", args=[job.team.slug, data.uid, version.number])
    opened, end = version.test_opened_at, job.finished_at
    note = "test split opened" if opened and (end is None or opened < end) else ""
    return Node("Dataset", str(version), "" if data.deleted_at else url, note, version.sha256)


def _build_grader(job: Job, version: GraderVersion) -> Node:
    grader = version.grader
    url = reverse("graders:version", args=[job.team.slug, grader.uid, version.number])
    return Node("Grader", str(version), "" if grader.deleted_at else url, detail=version.sha256)


def _list_judges(job: Job, graders: dict[GraderVersion, Node]) -> Edges:
    judging = [
        (name, node) for version, node in graders.items() for name in grading.judge_models(version.parsed)
    ]
    if not judging:
        return []
    endpoints = Endpoint.objects.alive().filter(team=job.team, name__in={name for name, _ in judging})
    known, url = set(endpoints.values_list("name", flat=True)), reverse("judges:list", args=[job.team.slug])
    return [(Node("Judge model", name, url if name in known else ""), grader) for name, grader in judging]


def _unique(nodes: Iterable[Node]) -> list[Node]:
    return list(dict.fromkeys(nodes))


def _fold(nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes; all but the first few as one node that links to the list."""
    if len(nodes) <= MOST_DRAWN:
        return list(nodes)
    return [*nodes[: MOST_DRAWN - 1], Node(nodes[0].kind, "and others, in the list below", LIST_ANCHOR)]
