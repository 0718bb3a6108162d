import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('datasets', '0002_initial'),
        ('environments', '0002_initial'),
        ('graders', '0002_initial'),
        ('jobs', '0001_initial'),
        ('registry', '0001_initial'),
        ('teams', '0001_initial'),
        ('work', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='checkpointpermission',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='checkpoint_permissions', to='teams.team'),
        ),
        migrations.AddField(
            model_name='checkpointpermission',
            name='tuned_model',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='permissions', to='registry.tunedmodel'),
        ),
        migrations.AddField(
            model_name='comparedrow',
            name='evaluation',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='compared_rows', to='jobs.evaluation'),
        ),
        migrations.AddField(
            model_name='job',
            name='base_model',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='jobs', to='registry.basemodel'),
        ),
        migrations.AddField(
            model_name='job',
            name='cloned_from',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='clones', to='jobs.job'),
        ),
        migrations.AddField(
            model_name='job',
            name='control_of',
            field=models.ForeignKey(blank=True, help_text='the job that this one is compared with', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='control_runs', to='jobs.job'),
        ),
        migrations.AddField(
            model_name='job',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='job',
            name='dataset_version',
            field=models.ForeignKey(help_text='null: RowBuild makes it', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='jobs', to='datasets.datasetversion'),
        ),
        migrations.AddField(
            model_name='job',
            name='environment_version',
            field=models.ForeignKey(blank=True, help_text='that the rows are played in; without one a rollout is one completion', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='jobs', to='environments.environmentversion'),
        ),
        migrations.AddField(
            model_name='job',
            name='grader_version',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='jobs', to='graders.graderversion'),
        ),
        migrations.AddField(
            model_name='job',
            name='held_out_grader',
            field=models.ForeignKey(blank=True, help_text='grades rollouts for the reward-hacking alarms; never trained against', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='watched_jobs', to='graders.graderversion'),
        ),
        migrations.AddField(
            model_name='job',
            name='initial_adapter',
            field=models.ForeignKey(blank=True, help_text='the adapter that training continues from; without one it starts from the base model', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='continued_by', to='registry.tunedmodel'),
        ),
        migrations.AddField(
            model_name='job',
            name='interference_of',
            field=models.ForeignKey(blank=True, help_text='the job of which this one trains some tasks, to measure interference', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='interference_runs', to='jobs.job'),
        ),
        migrations.AddField(
            model_name='job',
            name='node',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='jobs', to='work.node'),
        ),
        migrations.AddField(
            model_name='job',
            name='overruled_by',
            field=models.ForeignKey(blank=True, help_text='continued against its advice', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='job',
            name='promoted_from',
            field=models.ForeignKey(blank=True, help_text='the job whose checkpoint this one makes a model of, without further training', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='promotions', to='jobs.job'),
        ),
        migrations.AddField(
            model_name='job',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='jobs', to='teams.team'),
        ),
        migrations.AddField(
            model_name='job',
            name='tuned_model',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='job', to='registry.tunedmodel'),
        ),
        migrations.AddField(
            model_name='evaluation',
            name='job',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='evaluations', to='jobs.job'),
        ),
        migrations.AddField(
            model_name='checkpoint',
            name='job',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='checkpoints', to='jobs.job'),
        ),
        migrations.AddField(
            model_name='alarm',
            name='job',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='alarms', to='jobs.job'),
        ),
        migrations.AddField(
            model_name='jobevent',
            name='job',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='events', to='jobs.job'),
        ),
        migrations.AddField(
            model_name='jobnotice',
            name='job',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='notices', to='jobs.job'),
        ),
        migrations.AddField(
            model_name='jobnotice',
            name='user',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='notices', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='jobsuite',
            name='dataset_version',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='job_suites', to='datasets.datasetversion'),
        ),
        migrations.AddField(
            model_name='jobsuite',
            name='grader_version',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='job_suites', to='graders.graderversion'),
        ),
        migrations.AddField(
            model_name='jobsuite',
            name='job',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='suites', to='jobs.job'),
        ),
        migrations.AddField(
            model_name='jobtask',
            name='dataset_version',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='job_tasks', to='datasets.datasetversion'),
        ),
        migrations.AddField(
            model_name='jobtask',
            name='environment_version',
            field=models.ForeignKey(blank=True, help_text='that the rows are played in; without one a rollout is one completion', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='job_tasks', to='environments.environmentversion'),
        ),
        migrations.AddField(
            model_name='jobtask',
            name='grader_version',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='job_tasks', to='graders.graderversion'),
        ),
        migrations.AddField(
            model_name='jobtask',
            name='job',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tasks', to='jobs.job'),
        ),
        migrations.AddField(
            model_name='metric',
            name='job',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='metrics', to='jobs.job'),
        ),
        migrations.AddField(
            model_name='preflightsample',
            name='job',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='preflight_samples', to='jobs.job'),
        ),
        migrations.AddField(
            model_name='rollout',
            name='job',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rollouts', to='jobs.job'),
        ),
        migrations.AddField(
            model_name='rowbuild',
            name='job',
            field=models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='row_build', to='jobs.job'),
        ),
        migrations.AddField(
            model_name='savedview',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='savedview',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='saved_views', to='teams.team'),
        ),
        migrations.AddField(
            model_name='suitescore',
            name='job',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='suite_scores', to='jobs.job'),
        ),
        migrations.AddConstraint(
            model_name='checkpointpermission',
            constraint=models.UniqueConstraint(fields=('team', 'checkpoint', 'tuned_model'), name='one_permission_per_team_and_model', nulls_distinct=False),
        ),
        migrations.AddConstraint(
            model_name='checkpointpermission',
            constraint=models.CheckConstraint(condition=models.Q(('checkpoint', None), ('tuned_model', None), _connector='XOR'), name='a_permission_is_for_one_model'),
        ),
        migrations.AddConstraint(
            model_name='comparedrow',
            constraint=models.UniqueConstraint(fields=('evaluation', 'index'), name='one_compared_row_per_place'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('state__in', ['queued', 'running'])), fields=['queued_at'], name='job_queue'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(fields=['team', '-id'], name='job_of_team'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=django.contrib.postgres.indexes.GinIndex(fields=['tags'], name='job_tags'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.UniqueConstraint(condition=models.Q(('pin', 'baseline')), fields=('team',), name='one_baseline_per_team'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.UniqueConstraint(condition=models.Q(('ticket', ''), _negated=True), fields=('team', 'ticket'), name='one_job_of_a_form'),
        ),
        migrations.AddConstraint(
            model_name='evaluation',
            constraint=models.UniqueConstraint(fields=('job', 'stage', 'split', 'step', 'task'), name='one_evaluation_per_step'),
        ),
        migrations.AddConstraint(
            model_name='checkpoint',
            constraint=models.UniqueConstraint(fields=('job', 'step'), name='one_checkpoint_per_step'),
        ),
        migrations.AddConstraint(
            model_name='alarm',
            constraint=models.UniqueConstraint(fields=('job', 'step', 'code'), name='one_alarm_of_a_rule_per_step'),
        ),
        migrations.AddIndex(
            model_name='jobevent',
            index=models.Index(fields=['job', 'id'], name='events_of_job'),
        ),
        migrations.AddIndex(
            model_name='jobnotice',
            index=models.Index(condition=models.Q(('mail_at__isnull', False)), fields=['mail_at'], name='notice_mail'),
        ),
        migrations.AddConstraint(
            model_name='jobnotice',
            constraint=models.UniqueConstraint(fields=('job', 'user'), name='one_notice_per_job_and_user'),
        ),
        migrations.AddConstraint(
            model_name='jobsuite',
            constraint=models.UniqueConstraint(fields=('job', 'name'), name='one_suite_of_a_name_per_job'),
        ),
        migrations.AddConstraint(
            model_name='jobsuite',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('built_in', ''), ('dataset_version__isnull', False), ('grader_version__isnull', False)), models.Q(models.Q(('built_in', ''), _negated=True), ('dataset_version__isnull', True), ('grader_version__isnull', True)), _connector='OR'), name='a_suite_has_one_source'),
        ),
        migrations.AddConstraint(
            model_name='jobtask',
            constraint=models.UniqueConstraint(fields=('job', 'name'), name='one_task_of_a_name_per_job'),
        ),
        migrations.AddConstraint(
            model_name='metric',
            constraint=models.UniqueConstraint(fields=('job', 'step'), name='one_metric_row_per_step'),
        ),
        migrations.AddConstraint(
            model_name='preflightsample',
            constraint=models.UniqueConstraint(fields=('job', 'position'), name='one_preflight_sample_per_position'),
        ),
        migrations.AddIndex(
            model_name='rollout',
            index=models.Index(models.F('job'), models.OrderBy(models.F('step'), descending=True), models.F('index'), name='rollouts_newest_first'),
        ),
        migrations.AddIndex(
            model_name='rollout',
            index=models.Index(models.F('job'), models.F('row_id'), models.F('step'), name='rollouts_of_a_row'),
        ),
        migrations.AddIndex(
            model_name='rollout',
            index=models.Index(models.F('job'), models.F('reward'), models.F('step'), models.F('index'), models.F('length'), name='rollouts_by_reward'),
        ),
        migrations.AddIndex(
            model_name='rollout',
            index=models.Index(models.F('job'), models.F('length'), name='rollouts_by_length'),
        ),
        migrations.AddIndex(
            model_name='rollout',
            index=models.Index(models.F('job'), models.F('error_class'), condition=models.Q(('error_class', ''), _negated=True), name='rollouts_with_errors'),
        ),
        migrations.AddIndex(
            model_name='rollout',
            index=models.Index(models.F('job'), models.F('reward'), models.F('step'), models.F('index'), condition=models.Q(('truncated', True)), name='rollouts_cut_off'),
        ),
        migrations.AddIndex(
            model_name='rollout',
            index=models.Index(models.F('job'), condition=models.Q(('reward', None)), name='rollouts_ungraded'),
        ),
        migrations.AddIndex(
            model_name='rollout',
            index=models.Index(models.F('job'), models.F('ended'), models.F('step'), models.F('index'), condition=models.Q(('ended', ''), _negated=True), name='rollouts_by_end'),
        ),
        migrations.AddIndex(
            model_name='rollout',
            index=models.Index(models.F('job'), models.OrderBy(models.F('step'), descending=True), models.F('index'), condition=models.Q(('ended', ''), _negated=True), name='rollouts_of_episodes'),
        ),
        migrations.AddIndex(
            model_name='rollout',
            index=django.contrib.postgres.indexes.GinIndex(condition=models.Q(('ended', ''), _negated=True), fields=['tools'], name='rollouts_by_tool'),
        ),
        migrations.AddIndex(
            model_name='rollout',
            index=django.contrib.postgres.indexes.GinIndex(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('completion'), name='gin_trgm_ops'), name='rollouts_by_text'),
        ),
        migrations.AddConstraint(
            model_name='rollout',
            constraint=models.UniqueConstraint(fields=('job', 'step', 'index'), name='one_rollout_per_place'),
        ),
        migrations.AddConstraint(
            model_name='savedview',
            constraint=models.UniqueConstraint(fields=('team', 'name'), name='one_saved_view_of_a_name_per_team'),
        ),
        migrations.AddConstraint(
            model_name='suitescore',
            constraint=models.UniqueConstraint(fields=('job', 'suite', 'stage', 'step'), name='one_score_of_a_suite_per_step'),
        ),
    ]
