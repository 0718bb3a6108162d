import webapp.graders.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='ComparedRow',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('index', models.PositiveIntegerField()),
                ('row_id', models.CharField(max_length=64)),
                ('prompt', models.TextField(help_text='as rendered for the model')),
                ('row', webapp.graders.fields.WrittenJSONField(default=dict, help_text="{messages, tools, item} of the dataset's row")),
                ('base', models.JSONField(help_text='[contract.events.EvaluationSample]')),
                ('tuned', models.JSONField(help_text='[contract.events.EvaluationSample]')),
                ('base_reward', models.FloatField(null=True)),
                ('tuned_reward', models.FloatField(null=True)),
                ('change', models.FloatField(help_text='tuned minus base', null=True)),
                ('base_right', models.PositiveIntegerField(help_text='answers that pass; null: none was graded', null=True)),
                ('tuned_right', models.PositiveIntegerField(null=True)),
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
                ('base', models.JSONField(help_text='contract.events.ArmSummary')),
                ('tuned', models.JSONField(null=True)),
                ('difference', models.JSONField(help_text='contract.events.Interval, tuned minus base, paired', null=True)),
                ('wins', models.PositiveIntegerField(null=True)),
                ('ties', models.PositiveIntegerField(null=True)),
                ('losses', models.PositiveIntegerField(null=True)),
                ('comparison', models.JSONField(help_text='contract.events.Comparison', null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='Note',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('text', models.TextField()),
                ('written_at', models.DateTimeField(auto_now=True)),
            ],
            options={
                'ordering': ['written_at'],
            },
        ),
        migrations.CreateModel(
            name='Vote',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('preferred', models.CharField(choices=[('tuned', 'Tuned'), ('base', 'Base'), ('tie', 'Tie')], max_length=10)),
                ('created_at', models.DateTimeField(auto_now=True)),
            ],
            options={
                'ordering': ['created_at'],
            },
        ),
    ]
