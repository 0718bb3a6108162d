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
            name='Grader',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('deleted_at', models.DateTimeField(blank=True, null=True)),
                ('uid', webapp.core.fields.PublicIdField(prefix='grader_')),
                ('name', models.CharField(max_length=120)),
                ('description', models.CharField(blank=True, max_length=200)),
                ('reference_field', models.CharField(blank=True, help_text='field of a row with the right answer; empty: guessed', max_length=200)),
                ('full_answer', models.TextField(blank=True, help_text='template of an answer that earns full marks; empty: guessed')),
                ('cheat_threshold', models.FloatField(default=0.3, help_text='highest reward of a cheat without a warning')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='GraderCheck',
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
                ('results', models.JSONField(default=dict, help_text='{field, threshold, reference, cheats, tests}')),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='GraderTest',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('uid', webapp.core.fields.PublicIdField(prefix='gradertest_')),
                ('row', models.JSONField(help_text='{row_id, messages, item}')),
                ('answer', models.TextField(blank=True)),
                ('kind', models.CharField(choices=[('good', 'Known good'), ('bad', 'Known bad')], max_length=4)),
                ('limit', models.FloatField(help_text='a good answer earns at least this, a bad one at most')),
                ('note', models.CharField(blank=True, max_length=200)),
            ],
            options={
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='GraderTrial',
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
                ('uid', webapp.core.fields.PublicIdField(prefix='trial_')),
                ('definition', webapp.graders.fields.WrittenJSONField()),
                ('choices', models.JSONField(default=dict, help_text='values of the form: rows and sources of answers')),
                ('rows', webapp.graders.fields.WrittenJSONField(help_text='[{row_id, messages, item}]')),
                ('results', models.JSONField(default=list, help_text='[{row, source, number, answer, …GradeResult, second?}], row by row')),
                ('summary', models.JSONField(default=dict, help_text='{answers, mean, errors}')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='GraderVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('uid', webapp.core.fields.PublicIdField(prefix='graderv_')),
                ('number', models.PositiveIntegerField()),
                ('definition', webapp.graders.fields.WrittenJSONField()),
                ('sha256', models.CharField(help_text="hash of the definition's normal form", max_length=64)),
                ('note', models.CharField(blank=True, help_text="what changed, in its author's words", max_length=200)),
            ],
            options={
                'ordering': ['-number'],
            },
        ),
    ]
