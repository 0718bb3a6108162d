import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import webapp.core.fields
import webapp.graders.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Alarm',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('step', models.PositiveIntegerField()),
                ('code', models.CharField(max_length=40)),
                ('message', models.TextField()),
                ('threshold', models.TextField()),
                ('evidence', models.JSONField(default=dict, help_text='name in words -> number')),
                ('remedy', models.TextField()),
                ('rollouts', models.JSONField(default=list, help_text="indices of the step's example rollouts")),
                ('paused', models.BooleanField(default=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['-step', 'id'],
            },
        ),
        migrations.CreateModel(
            name='Checkpoint',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uid', webapp.core.fields.PublicIdField(prefix='ftckpt_')),
                ('step', models.PositiveIntegerField()),
                ('attempt', models.PositiveIntegerField()),
                ('key', models.CharField(max_length=255)),
                ('bytes', models.BigIntegerField()),
                ('sha256', models.CharField(max_length=64)),
                ('adapter_sha256', models.CharField(blank=True, help_text="of the adapter's weights", max_length=64)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['-step'],
            },
        ),
        migrations.CreateModel(
            name='ComparedRow',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('index', models.PositiveIntegerField()),
                ('row_id', models.CharField(max_length=64)),
                ('prompt', models.TextField(help_text='as rendered for the model')),
                ('row', webapp.graders.fields.WrittenJSONField(default=dict, help_text="{messages, tools, item} of the dataset's row")),
                ('base', models.JSONField(help_text='[contract.events.EvaluationSample], episodes only counted')),
                ('tuned', models.JSONField(help_text='as base')),
                ('base_reward', models.FloatField(null=True)),
                ('tuned_reward', models.FloatField(null=True)),
                ('change', models.FloatField(help_text='tuned minus base', null=True)),
                ('base_right', models.PositiveIntegerField(help_text='passing completions; null: none was graded', null=True)),
                ('tuned_right', models.PositiveIntegerField(null=True)),
                ('episodes', models.JSONField(help_text='lists do not load it', null=True)),
                ('parting_turn', models.PositiveIntegerField(help_text='in which the first episodes of both models part', null=True)),
            ],
            options={
                'ordering': ['index'],
            },
        ),
        migrations.CreateModel(
            name='Evaluation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('stage', models.CharField(help_text='before, during or after', max_length=10)),
                ('split', models.CharField(max_length=10)),
                ('task', models.CharField(blank=True, help_text='of several; empty is all rows together', max_length=30)),
                ('step', models.PositiveIntegerField()),
                ('rows', models.PositiveIntegerField()),
                ('samples_per_row', models.PositiveIntegerField()),
                ('base', models.JSONField()),
                ('tuned', models.JSONField(null=True)),
                ('difference', models.JSONField(help_text='tuned minus base, paired', null=True)),
                ('wins', models.PositiveIntegerField(null=True)),
                ('ties', models.PositiveIntegerField(null=True)),
                ('losses', models.PositiveIntegerField(null=True)),
                ('comparison', models.JSONField(null=True)),
                ('episodes', models.JSONField(help_text='counted', null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='Job',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('deleted_at', models.DateTimeField(blank=True, null=True)),
                ('attempt', models.PositiveIntegerField(default=0, help_text='fencing token: every write names its attempt')),
                ('crashes', models.PositiveIntegerField(default=0, help_text='attempts that ended without a result')),
                ('lease_until', models.DateTimeField(blank=True, null=True)),
                ('error', models.JSONField(blank=True, null=True)),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('uid', webapp.core.fields.PublicIdField(prefix='ftjob-')),
                ('name', models.CharField(max_length=120)),
                ('tags', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=30), blank=True, default=list, size=None)),
                ('notes', models.TextField(blank=True, help_text='plain text')),
                ('pin', models.CharField(blank=True, choices=[('pinned', 'Pinned'), ('baseline', 'Baseline')], max_length=10)),
                ('ticket', models.CharField(blank=True, help_text='of the launch form; used once', max_length=22)),
                ('model_name', models.CharField(blank=True, db_index=True, help_text='of the model that it makes; set once', max_length=255)),
                ('method', models.CharField(default='rft', help_text='a key of workers.contract.methods.METHODS', max_length=10)),
                ('sft', models.JSONField(blank=True, null=True)),
                ('settings', models.JSONField()),
                ('metadata', models.JSONField(blank=True, default=dict, help_text='texts by key, set by API callers')),
                ('asked', models.JSONField(blank=True, default=dict, help_text="the API request that made it; empty for a page's job")),
                ('result_file', models.CharField(blank=True, help_text='id of the file of its results', max_length=64)),
                ('reported_step', models.PositiveIntegerField(default=0, help_text='last step with a step event; stays when an attempt repeats steps')),
                ('state', models.CharField(choices=[('validating_files', 'Validating files'), ('queued', 'Queued'), ('running', 'Running'), ('paused', 'Paused'), ('succeeded', 'Succeeded'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='validating_files', max_length=20)),
                ('finish_early', models.BooleanField(default=False, help_text='end training at the next step boundary, in this and every later attempt')),
                ('promoted_step', models.PositiveIntegerField(blank=True, help_text='of that checkpoint', null=True)),
                ('stop_requested', models.CharField(blank=True, help_text="'', 'pause' or 'cancel'", max_length=10)),
                ('phase', models.CharField(blank=True, max_length=20)),
                ('step', models.PositiveIntegerField(default=0)),
                ('total_steps', models.PositiveIntegerField(default=0)),
                ('judge_cost', models.JSONField(default=dict, help_text='money spent so far, by judge')),
                ('progress', models.JSONField(default=dict)),
                ('estimate', models.JSONField(blank=True, null=True)),
                ('events_end', models.BigIntegerField(default=0, help_text="recorded bytes of the attempt's event file")),
                ('preflight', models.JSONField(blank=True, null=True)),
                ('devices', models.JSONField(default=dict)),
                ('queued_at', models.DateTimeField(blank=True, null=True)),
                ('train_seconds', models.FloatField(default=0)),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='JobEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uid', webapp.core.fields.PublicIdField(prefix='ftevent-')),
                ('attempt', models.PositiveIntegerField()),
                ('kind', models.CharField(help_text='state, request, phase, progress, metrics, rollouts, checkpoint, evaluation, alarm, log, error, rewind; for the API only: created, validating, step, model', max_length=20)),
                ('data', models.JSONField(default=dict)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='JobNotice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(choices=[('validating_files', 'Validating files'), ('queued', 'Queued'), ('running', 'Running'), ('paused', 'Paused'), ('succeeded', 'Succeeded'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], max_length=20)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('mail_at', models.DateTimeField(help_text='when to send the e-mail; null: none to send', null=True)),
                ('mail_failures', models.PositiveIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name='JobSuite',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveIntegerField()),
                ('name', models.CharField(max_length=120)),
                ('built_in', models.CharField(blank=True, help_text='key in workers.starter.suites', max_length=30)),
                ('max_loss', models.FloatField(blank=True, help_text='largest allowed loss of reward; empty: measured only', null=True)),
            ],
            options={
                'ordering': ['position'],
            },
        ),
        migrations.CreateModel(
            name='JobTask',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveIntegerField()),
                ('name', models.CharField(max_length=30)),
                ('weight', models.FloatField(default=1, help_text="relative share of a step's prompts")),
            ],
            options={
                'ordering': ['position'],
            },
        ),
        migrations.CreateModel(
            name='Metric',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('step', models.PositiveIntegerField()),
                ('values', models.JSONField(help_text="TRL's metric name -> number")),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['step'],
            },
        ),
        migrations.CreateModel(
            name='PreflightSample',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('row_id', models.CharField(max_length=64)),
                ('task', models.CharField(blank=True, max_length=30)),
                ('prompt', models.TextField()),
                ('completion', models.TextField()),
                ('reasoning', models.TextField(blank=True, help_text='separated from the completion')),
                ('reward', models.FloatField(null=True)),
                ('sub_rewards', models.JSONField(default=dict)),
                ('error_class', models.CharField(blank=True, max_length=40)),
                ('error_detail', models.TextField(blank=True)),
                ('explanation', models.TextField(blank=True, help_text="the judge's reasons")),
                ('length', models.PositiveIntegerField()),
                ('truncated', models.BooleanField()),
                ('episode', models.JSONField(help_text='of several turns; lists do not load it', null=True)),
                ('position', models.PositiveIntegerField()),
            ],
            options={
                'ordering': ['position'],
            },
        ),
        migrations.CreateModel(
            name='Rollout',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('row_id', models.CharField(max_length=64)),
                ('task', models.CharField(blank=True, max_length=30)),
                ('prompt', models.TextField()),
                ('completion', models.TextField()),
                ('reasoning', models.TextField(blank=True, help_text='separated from the completion')),
                ('reward', models.FloatField(null=True)),
                ('sub_rewards', models.JSONField(default=dict)),
                ('error_class', models.CharField(blank=True, max_length=40)),
                ('error_detail', models.TextField(blank=True)),
                ('explanation', models.TextField(blank=True, help_text="the judge's reasons")),
                ('length', models.PositiveIntegerField()),
                ('truncated', models.BooleanField()),
                ('episode', models.JSONField(help_text='of several turns; lists do not load it', null=True)),
                ('step', models.PositiveIntegerField()),
                ('index', models.PositiveIntegerField()),
                ('group', models.PositiveIntegerField()),
                ('advantage', models.FloatField(null=True)),
                ('adapter_step', models.PositiveIntegerField()),
                ('held_out_reward', models.FloatField(help_text='by the held-out grader', null=True)),
                ('ended', models.CharField(blank=True, help_text='why the episode ended; empty: a single turn', max_length=20)),
                ('turns', models.PositiveIntegerField(default=0, help_text='of the episode')),
                ('tools', django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), default=list, help_text='names of the tools that it called', size=None)),
            ],
            options={
                'ordering': ['step', 'index'],
            },
        ),
        migrations.CreateModel(
            name='RowBuild',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('attempt', models.PositiveIntegerField(default=0, help_text='fencing token: every write names its attempt')),
                ('crashes', models.PositiveIntegerField(default=0, help_text='attempts that ended without a result')),
                ('lease_until', models.DateTimeField(blank=True, null=True)),
                ('error', models.JSONField(blank=True, null=True)),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('state', models.CharField(choices=[('queued', 'Waiting for a worker'), ('running', 'Running'), ('finished', 'Finished'), ('failed', 'Failed'), ('rows', 'Waiting for rows')], default='queued', max_length=10)),
                ('queued_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='SavedView',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('name', models.CharField(max_length=60)),
                ('query', models.CharField(blank=True, max_length=2000)),
            ],
            options={
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='SuiteScore',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('suite', models.CharField(blank=True, max_length=120)),
                ('stage', models.CharField(help_text='before, during or after', max_length=10)),
                ('step', models.PositiveIntegerField()),
                ('rows', models.PositiveIntegerField()),
                ('samples_per_row', models.PositiveIntegerField()),
                ('base', models.JSONField(help_text='mean reward', null=True)),
                ('tuned', models.JSONField(help_text='mean reward', null=True)),
                ('forgetting', models.JSONField(help_text='base minus tuned, paired', null=True)),
                ('grading_errors', models.FloatField(default=0.0, help_text="share of ungraded completions, tuned's beyond the base's")),
                ('drift', models.JSONField(null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='CheckpointPermission',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uid', webapp.core.fields.PublicIdField(prefix='cp_')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('checkpoint', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='permissions', to='jobs.checkpoint')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
    ]
