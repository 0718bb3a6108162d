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
            name='Eval',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('uid', webapp.core.fields.PublicIdField(prefix='eval_')),
                ('name', models.CharField(blank=True, max_length=200)),
                ('source', models.CharField(choices=[('custom', 'Custom'), ('logs', 'Logs'), ('stored_completions', 'Stored')], default='custom', max_length=20)),
                ('filters', models.JSONField(default=dict, help_text='metadata that stored completions must have')),
                ('item_schema', webapp.graders.fields.WrittenJSONField(help_text="JSON schema of a row's item")),
                ('include_sample_schema', models.BooleanField(default=False)),
                ('criteria', webapp.graders.fields.WrittenJSONField(help_text='[grader definition with its pass_threshold]')),
                ('metadata', models.JSONField(default=dict)),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='EvalRun',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('attempt', models.PositiveIntegerField(default=0, help_text='fencing token: every write names its attempt')),
                ('crashes', models.PositiveIntegerField(default=0, help_text='attempts that ended without a result')),
                ('lease_until', models.DateTimeField(blank=True, null=True)),
                ('error', models.JSONField(blank=True, null=True)),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('state', models.CharField(choices=[('queued', 'Waiting for a worker'), ('running', 'Running'), ('finished', 'Finished'), ('failed', 'Failed'), ('rows', 'Waiting for rows')], default='queued', max_length=10)),
                ('queued_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('uid', webapp.core.fields.PublicIdField(prefix='evalrun_')),
                ('name', models.CharField(blank=True, max_length=200)),
                ('model', models.CharField(blank=True, help_text='gives the samples; empty: the rows do', max_length=300)),
                ('data_source', webapp.graders.fields.WrittenJSONField(help_text='as the caller sent it, without the rows')),
                ('rows', webapp.graders.fields.WrittenJSONField(help_text='[{item, sample?}]')),
                ('metadata', models.JSONField(default=dict)),
                ('canceled_at', models.DateTimeField(blank=True, null=True)),
                ('report', models.JSONField(default=dict)),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='OutputItem',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uid', webapp.core.fields.PublicIdField(prefix='outputitem_')),
                ('number', models.PositiveIntegerField(help_text='of the row, from 1')),
                ('item', webapp.graders.fields.WrittenJSONField()),
                ('sample', webapp.graders.fields.WrittenJSONField(help_text='webapp.evals.samples.Sample')),
                ('results', webapp.graders.fields.WrittenJSONField(help_text='[webapp.evals.results.Result], one a criterion')),
                ('status', models.CharField(choices=[('pass', 'Passed'), ('fail', 'Failed'), ('error', 'Not graded')], max_length=5)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['id'],
            },
        ),
    ]
