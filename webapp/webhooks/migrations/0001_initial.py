import django.contrib.postgres.fields
import django.db.models.deletion
import encrypted_fields.fields
import webapp.core.fields
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('teams', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='WebhookEndpoint',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('uid', webapp.core.fields.PublicIdField(prefix='wh_')),
                ('name', models.CharField(max_length=120)),
                ('url', models.CharField(max_length=500, verbose_name='URL')),
                ('event_types', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('fine_tuning.job.succeeded', 'Job succeeded'), ('fine_tuning.job.failed', 'Job failed'), ('fine_tuning.job.cancelled', 'Job cancelled'), ('eval.run.succeeded', 'Eval run succeeded'), ('eval.run.failed', 'Eval run failed'), ('eval.run.canceled', 'Eval run canceled')], max_length=60), size=None)),
                ('secret', encrypted_fields.fields.EncryptedTextField()),
                ('secret_hint', models.CharField(max_length=16)),
                ('old_secret', encrypted_fields.fields.EncryptedTextField(blank=True, null=True)),
                ('old_secret_until', models.DateTimeField(blank=True, null=True)),
                ('updated_at', models.DateTimeField(help_text='of the last change of a field or secret')),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('team', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='webhook_endpoints', to='teams.team')),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='WebhookEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uid', webapp.core.fields.PublicIdField(prefix='evt_')),
                ('type', models.CharField(choices=[('fine_tuning.job.succeeded', 'Job succeeded'), ('fine_tuning.job.failed', 'Job failed'), ('fine_tuning.job.cancelled', 'Job cancelled'), ('eval.run.succeeded', 'Eval run succeeded'), ('eval.run.failed', 'Eval run failed'), ('eval.run.canceled', 'Eval run canceled')], max_length=60)),
                ('object_id', models.CharField(max_length=64)),
                ('created_at', models.DateTimeField()),
                ('team', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='webhook_events', to='teams.team')),
            ],
        ),
        migrations.CreateModel(
            name='WebhookDelivery',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uid', webapp.core.fields.PublicIdField(prefix='whdel_')),
                ('state', models.CharField(choices=[('pending', 'Pending'), ('delivered', 'Delivered'), ('failed', 'Failed')], default='pending', editable=False, max_length=10)),
                ('attempts', models.PositiveSmallIntegerField(default=0)),
                ('status_code', models.PositiveSmallIntegerField(blank=True, help_text='of the last response', null=True)),
                ('error', models.CharField(blank=True, max_length=300)),
                ('created_at', models.DateTimeField()),
                ('next_try_at', models.DateTimeField(blank=True, null=True)),
                ('endpoint', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='webhooks.webhookendpoint')),
                ('event', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='webhooks.webhookevent')),
            ],
            options={
                'ordering': ['-id'],
                'indexes': [models.Index(models.F('next_try_at'), condition=models.Q(('next_try_at__isnull', False)), name='due_deliveries')],
            },
        ),
    ]
