"""URLs of jobs, below ``/t/<team>/jobs/``."""

from django.urls import path

from webapp.jobs import action_views
from webapp.jobs.launch import launch_views
from webapp.jobs.listing import list_views
from webapp.jobs.live.stream import stream
from webapp.jobs.monitor import job_views, log_views, node_views, preflight_views
from webapp.jobs.rollouts import rollout_views

app_name = "jobs"
urlpatterns = [
    path("", list_views.job_list, name="list"),
    path("columns/", list_views.columns, name="columns"),
    path("deleted/", list_views.deleted, name="deleted"),
    path("restore/", list_views.restore, name="restore"),
    path("change/", list_views.change_several, name="bulk"),
    path("new/", launch_views.new, name="new"),
    path("workers/", node_views.workers, name="workers"),
    path("<str:uid>/", job_views.detail, name="detail"),
    path("<str:uid>/stream/", stream, name="stream"),
    path("<str:uid>/metrics/", job_views.metrics, name="metrics"),
    path("<str:uid>/rollouts/", rollout_views.page, name="rollouts"),
    path("<str:uid>/rollouts.jsonl", rollout_views.download, name="rollouts_file"),
    path("<str:uid>/rollouts/views/", rollout_views.save, name="save_view"),
    path("<str:uid>/rollouts/views/<int:view>/forget/", rollout_views.forget, name="forget_view"),
    path("<str:uid>/rollouts/<int:step>/<int:index>/", rollout_views.rollout, name="rollout"),
    path("<str:uid>/log/", log_views.page, name="log"),
    path("<str:uid>/log.txt", log_views.download, name="log_file"),
    path("<str:uid>/labels/", action_views.annotate, name="annotate"),
    path("<str:uid>/delete/", list_views.delete, name="delete"),
    path("<str:uid>/config/", job_views.config, name="config"),
    path("<str:uid>/preflight/", preflight_views.page, name="preflight"),
    path("<str:uid>/cancel/", action_views.cancel, name="cancel"),
    path("<str:uid>/pause/", action_views.pause, name="pause"),
    path("<str:uid>/resume/", action_views.resume, name="resume"),
    path("<str:uid>/finish/", action_views.finish, name="finish"),
    path("<str:uid>/pin/", action_views.pin, name="pin"),
    path("<str:uid>/rename/", action_views.rename, name="rename"),
]
