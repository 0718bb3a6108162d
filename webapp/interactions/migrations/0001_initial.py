import django.contrib.postgres.fields
import encrypted_fields.fields
import webapp.core.fields
import webapp.interactions.hashing
import webapp.interactions.models
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='DatasetCopy',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('interaction_uid', models.CharField(max_length=64)),
                ('subject_hash', models.CharField(blank=True, max_length=64)),
                ('prompt_digest', models.CharField(max_length=32)),
            ],
        ),
        migrations.CreateModel(
            name='Feedback',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uid', webapp.core.fields.PublicIdField(prefix='fb_')),
                ('session_hash', models.CharField(blank=True, help_text='of an episode', max_length=64)),
                ('kind', models.CharField(choices=[('boolean', 'Boolean'), ('float', 'Float'), ('comment', 'Comment'), ('demonstration', 'Demonstration'), ('edit', 'Edit')], max_length=15)),
                ('metric', models.CharField(max_length=64)),
                ('number', models.FloatField(help_text='of a metric; a boolean is 0 or 1', null=True)),
                ('text', models.TextField(blank=True, help_text='redacted')),
                ('cost', models.FloatField(help_text='of an edit: Levenshtein distance by the longer length', null=True)),
                ('source', models.CharField(choices=[('api', 'API'), ('end_user', 'End user'), ('member', 'Team member')], max_length=10)),
                ('actor_hash', models.CharField(max_length=64)),
                ('tags', models.JSONField(default=dict)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='Interaction',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uid', webapp.core.fields.PublicIdField(prefix='chatcmpl-')),
                ('model', models.CharField(help_text='as the caller named it', max_length=200)),
                ('adapter_sha256', models.CharField(blank=True, help_text='that the model server used', max_length=64)),
                ('verified', models.BooleanField(help_text='the adapter that answered is the one that was asked')),
                ('fingerprint', models.CharField(blank=True, help_text='system_fingerprint', max_length=80)),
                ('session_hash', models.CharField(max_length=64)),
                ('subject_hash', models.CharField(blank=True, help_text='of the field user; empty: none', max_length=64)),
                ('messages', models.JSONField(help_text='redacted')),
                ('completion', models.JSONField(help_text='a message, redacted')),
                ('search_text', models.TextField(help_text='beginnings of the last message and the completion, redacted')),
                ('prompt_digest', models.CharField(help_text='of the redacted prompt', max_length=32)),
                ('params', models.JSONField(default=dict)),
                ('prompt_ids', django.contrib.postgres.fields.ArrayField(base_field=models.IntegerField(), default=list, help_text='empty if text was redacted', size=None)),
                ('completion_ids', django.contrib.postgres.fields.ArrayField(base_field=models.IntegerField(), default=list, help_text='empty if text was redacted', size=None)),
                ('logp_sampled', models.BinaryField(help_text='float16, of the distribution sampled from')),
                ('logp_model', models.BinaryField(help_text='float16, of the model')),
                ('propensity_ok', models.BooleanField(default=False, help_text='logp_sampled may weigh samples')),
                ('finish', models.CharField(max_length=20)),
                ('usage', models.JSONField(default=dict)),
                ('latency_ms', models.PositiveIntegerField()),
                ('metadata', models.JSONField(default=dict)),
                ('consent', models.CharField(choices=[('none', 'Keep nothing'), ('keep', 'Keep, do not train'), ('train', 'Keep and train')], max_length=10)),
                ('split', models.CharField(choices=[('train', 'Train'), ('fresh', 'Fresh: compares models on prompts that nobody trained on'), ('audit', 'Audit: a random sample for people'), ('seen', 'Seen before: was fresh until its prompt went into a dataset')], max_length=10)),
                ('redactor', models.CharField(help_text='version of the recognizers and of the rules', max_length=40)),
                ('idempotency_key', models.CharField(blank=True, max_length=255)),
                ('created_at', models.DateTimeField()),
                ('expires_at', models.DateTimeField(db_index=True)),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='InteractionRules',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('secret', encrypted_fields.fields.EncryptedTextField(default=webapp.interactions.hashing.create_secret, help_text='key of the hashes of people and sessions')),
                ('consent_rule', models.CharField(choices=[('none', 'Nobody: nothing trains'), ('opt_in', 'The caller: trains with metadata consent “train”'), ('contract', 'A contract: trains unless metadata says otherwise')], default='opt_in', max_length=10)),
                ('retention_days', models.PositiveIntegerField(default=30)),
                ('kinds', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=20), default=webapp.interactions.models.list_kinds, help_text='redacted', size=None)),
                ('phone_region', models.CharField(blank=True, help_text='of numbers without a country code', max_length=2)),
                ('patterns', models.JSONField(default=dict, help_text='name -> regular expression, redacted too')),
                ('metrics', models.JSONField(default=dict, help_text='name -> boolean or float')),
                ('version', models.PositiveIntegerField(default=1)),
            ],
        ),
        migrations.CreateModel(
            name='Placeholder',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('session_hash', models.CharField(max_length=64)),
                ('kind', models.CharField(max_length=40)),
                ('value_hash', models.CharField(max_length=64)),
                ('number', models.PositiveIntegerField()),
            ],
        ),
    ]
