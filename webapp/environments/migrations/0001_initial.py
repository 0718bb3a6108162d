import django.utils.timezone
import encrypted_fields.fields
import webapp.core.fields
import webapp.graders.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Environment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('deleted_at', models.DateTimeField(blank=True, null=True)),
                ('uid', webapp.core.fields.PublicIdField(prefix='env_')),
                ('name', models.CharField(max_length=120)),
                ('description', models.CharField(blank=True, max_length=200)),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='EnvironmentInspection',
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
                ('found', models.JSONField(blank=True, null=True)),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='EnvironmentVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('uid', webapp.core.fields.PublicIdField(prefix='envv_')),
                ('number', models.PositiveIntegerField()),
                ('type', models.CharField(default='python', help_text='of the definition', max_length=20)),
                ('source', models.TextField()),
                ('sha256', models.CharField(help_text='of the source', max_length=64)),
                ('note', models.CharField(blank=True, help_text="what changed, in its author's words", max_length=200)),
            ],
            options={
                'ordering': ['-number'],
            },
        ),
        migrations.CreateModel(
            name='Play',
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
                ('uid', webapp.core.fields.PublicIdField(prefix='play_')),
                ('split', models.CharField(max_length=100)),
                ('task', webapp.graders.fields.WrittenJSONField(help_text='arguments of the session')),
                ('by_oracle', models.BooleanField(default=False, help_text="the environment's oracle makes the moves")),
                ('moves', models.JSONField(default=list, help_text='[{tool, arguments} or {message}]')),
                ('progress', models.JSONField(default=dict)),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='ServerSecret',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('uid', webapp.core.fields.PublicIdField(prefix='envsecret_')),
                ('url', models.CharField(max_length=500)),
                ('value', encrypted_fields.fields.EncryptedTextField()),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='TaskDataset',
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
                ('uid', webapp.core.fields.PublicIdField(prefix='taskset_')),
                ('most', models.PositiveIntegerField(help_text='tasks of each split, at most')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
    ]
