import encrypted_fields.fields
import webapp.core.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Endpoint',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uid', webapp.core.fields.PublicIdField(prefix='endpoint_')),
                ('name', models.CharField(help_text='the model that graders name', max_length=120)),
                ('base_url', models.URLField(blank=True, max_length=500)),
                ('model', models.CharField(blank=True, help_text="the endpoint's own name of the model", max_length=200)),
                ('api_key', encrypted_fields.fields.EncryptedTextField(blank=True, null=True)),
                ('key_hint', models.CharField(blank=True, max_length=4)),
                ('requests_per_minute', models.PositiveIntegerField(blank=True, null=True)),
                ('tokens_per_minute', models.PositiveIntegerField(blank=True, null=True)),
                ('concurrency', models.PositiveIntegerField(default=16)),
                ('timeout_seconds', models.FloatField(default=60.0)),
                ('input_price', models.FloatField(default=0.0)),
                ('output_price', models.FloatField(default=0.0)),
                ('budget', models.FloatField(blank=True, null=True)),
                ('checked', models.JSONField(default=dict, help_text='{at, seconds, error} of the last check, or {pending}')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('deleted_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='HumanLabel',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('answer', models.PositiveIntegerField(help_text="place among the task's answers")),
                ('value', models.PositiveSmallIntegerField()),
                ('created_at', models.DateTimeField(auto_now=True)),
            ],
            options={
                'ordering': ['answer'],
            },
        ),
        migrations.CreateModel(
            name='JudgeCard',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uid', webapp.core.fields.PublicIdField(prefix='judgecard_')),
                ('labels', models.JSONField(help_text='[{text, item, group, value}], as they were when the card was made')),
                ('results', models.JSONField(default=dict, help_text="the numbers, and the judge's word on each label")),
                ('state', models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('finished', 'Finished'), ('failed', 'Failed')], default='queued', max_length=10)),
                ('error', models.JSONField(blank=True, help_text='{message, remedy}', null=True)),
                ('attempt', models.PositiveIntegerField(default=0, help_text='fences the writes of a worker that came late')),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='LabelTask',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uid', webapp.core.fields.PublicIdField(prefix='labels_')),
                ('rows', models.JSONField(help_text='[{row_id, messages, item}]')),
                ('answers', models.JSONField(help_text='[{row, text}], in the order of labelling')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
    ]
