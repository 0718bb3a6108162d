import django.utils.timezone
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
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('deleted_at', models.DateTimeField(blank=True, null=True)),
                ('uid', webapp.core.fields.PublicIdField(prefix='endpoint_')),
                ('name', models.CharField(help_text="the judge's name in graders", max_length=120)),
                ('base_url', models.URLField(blank=True, max_length=500)),
                ('model', models.CharField(blank=True, help_text="the model's name at the endpoint", max_length=200)),
                ('api_key', encrypted_fields.fields.EncryptedTextField(blank=True, null=True)),
                ('key_hint', models.CharField(blank=True, max_length=4)),
                ('requests_per_minute', models.PositiveIntegerField(blank=True, null=True)),
                ('tokens_per_minute', models.PositiveIntegerField(blank=True, null=True)),
                ('concurrency', models.PositiveIntegerField(default=16)),
                ('timeout_seconds', models.FloatField(default=60.0)),
                ('input_price', models.FloatField(default=0.0)),
                ('output_price', models.FloatField(default=0.0)),
                ('budget', models.FloatField(blank=True, null=True)),
            ],
            options={
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='EndpointCheck',
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
                ('seconds', models.FloatField(blank=True, null=True)),
            ],
            options={
                'abstract': False,
            },
        ),
    ]
