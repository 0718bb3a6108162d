import django.utils.timezone
import webapp.core.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='BaseModel',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uid', webapp.core.fields.PublicIdField(prefix='base_')),
                ('model_id', models.CharField(help_text="Hugging Face id; goes into the adapter's config", max_length=200)),
                ('revision', models.CharField(blank=True, max_length=80)),
                ('path', models.CharField(blank=True, help_text='local folder on the workers', max_length=500)),
                ('description', models.CharField(blank=True, max_length=300)),
                ('chat_template', models.TextField(blank=True, help_text="Jinja, in place of the tokenizer's own")),
                ('template_arguments', models.JSONField(default=dict, help_text='given to the chat template')),
                ('settings', models.JSONField(default=dict, help_text='recommended job settings for this model')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='Export',
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
                ('kind', models.CharField(help_text='a key of workers.contract.exports.KINDS', max_length=20)),
                ('shortage', models.CharField(blank=True, help_text='what the last node lacked for it', max_length=300)),
                ('prefix', models.CharField(blank=True, help_text='folder in storage', max_length=255)),
                ('files', models.JSONField(default=list, help_text='[{name, bytes, sha256}]')),
                ('verification', models.JSONField(default=dict, help_text='workers.engine.export.checking.Verification')),
            ],
            options={
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='Inspection',
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
                ('report', models.JSONField(default=dict, help_text="{problem, facts, notes} of the engine's inspection")),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='TunedModel',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('deleted_at', models.DateTimeField(blank=True, null=True)),
                ('uid', webapp.core.fields.PublicIdField(prefix='model_')),
                ('name', models.CharField(db_index=True, help_text='ft:BASE:TEAM:SUFFIX:RANDOM', max_length=255)),
                ('description', models.CharField(blank=True, help_text='its purpose in a line', max_length=200)),
                ('prefix', models.CharField(help_text='folder in storage', max_length=255)),
                ('files', models.JSONField(help_text='[{name, bytes, sha256}]')),
                ('uploaded', models.BooleanField(default=False, help_text='not made by a job of this server')),
                ('shape', models.JSONField(default=dict, help_text='{rank, alpha, targets} of an uploaded adapter')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
    ]
