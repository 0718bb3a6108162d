import django.db.models.deletion
import django.utils.timezone
import encrypted_fields.fields
import webapp.core.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('jobs', '0001_initial'),
        ('keys', '0001_initial'),
        ('registry', '0001_initial'),
        ('work', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='ModelServer',
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
                ('uid', webapp.core.fields.PublicIdField(prefix='server_')),
                ('url', models.URLField(blank=True, help_text='ends in /v1; empty while the model loads')),
                ('token', encrypted_fields.fields.EncryptedTextField(blank=True, help_text='what callers of the process present', null=True)),
                ('shortage', models.CharField(blank=True, help_text='what the last node lacked for it', max_length=300)),
                ('warm', models.BooleanField(default=False, help_text='never stopped for being idle')),
                ('last_used_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('base_model', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='server', to='registry.basemodel')),
                ('node', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='model_servers', to='work.node')),
            ],
            options={
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='ServedAdapter',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sha256', models.CharField(help_text='of the weights; its name at the server', max_length=64)),
                ('loaded_attempt', models.PositiveIntegerField(default=0)),
                ('error', models.CharField(blank=True, max_length=500)),
                ('changed_at', models.DateTimeField(default=django.utils.timezone.now, help_text='when it was loaded, or failed to')),
                ('last_used_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('checkpoint', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='jobs.checkpoint')),
                ('server', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='adapters', to='serving.modelserver')),
                ('tuned_model', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='registry.tunedmodel')),
            ],
        ),
        migrations.CreateModel(
            name='Usage',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('model', models.CharField(help_text='the name that callers asked for', max_length=300)),
                ('day', models.DateField()),
                ('requests', models.PositiveBigIntegerField(default=0)),
                ('errors', models.PositiveBigIntegerField(default=0, help_text='of these, without a complete answer')),
                ('prompt_tokens', models.PositiveBigIntegerField(default=0)),
                ('completion_tokens', models.PositiveBigIntegerField(default=0)),
                ('milliseconds', models.PositiveBigIntegerField(default=0, help_text='of all requests together')),
                ('slowest_milliseconds', models.PositiveBigIntegerField(default=0)),
                ('key', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='usage', to='keys.apikey')),
            ],
            options={
                'ordering': ['-day', 'model'],
            },
        ),
    ]
