import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('datasets', '0001_initial'),
        ('graders', '0001_initial'),
        ('jobs', '0002_initial'),
        ('registry', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='SuiteScore',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('suite', models.CharField(blank=True, max_length=120)),
                ('stage', models.CharField(help_text='before, during or after', max_length=10)),
                ('step', models.PositiveIntegerField()),
                ('rows', models.PositiveIntegerField()),
                ('samples_per_row', models.PositiveIntegerField()),
                ('base', models.JSONField(help_text='contract.events.Interval', null=True)),
                ('tuned', models.JSONField(help_text='contract.events.Interval', null=True)),
                ('forgetting', models.JSONField(help_text='contract.events.Interval, base minus tuned, paired', null=True)),
                ('grading_errors', models.FloatField(default=0.0, help_text="share of answers without a grade, tuned's beyond base's")),
                ('drift', models.JSONField(help_text='contract.events.Drift', null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='JobSuite',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveIntegerField()),
                ('name', models.CharField(max_length=120)),
                ('built_in', models.CharField(blank=True, help_text='key in workers.starter.suites', max_length=30)),
                ('max_loss', models.FloatField(blank=True, help_text='reward that may be lost; empty: measured only', null=True)),
                ('dataset_version', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='job_suites', to='datasets.datasetversion')),
                ('grader_version', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='job_suites', to='graders.graderversion')),
                ('job', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='suites', to='jobs.job')),
            ],
            options={
                'ordering': ['position'],
            },
        ),
        migrations.CreateModel(
            name='Release',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('reason', models.TextField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('model', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='release', to='registry.tunedmodel')),
            ],
        ),
    ]
