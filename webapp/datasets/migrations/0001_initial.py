import django.utils.timezone
import webapp.core.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='ApiFile',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('deleted_at', models.DateTimeField(blank=True, null=True)),
                ('uid', webapp.core.fields.PublicIdField(prefix='file-')),
                ('filename', models.CharField(max_length=255)),
                ('purpose', models.CharField(choices=[('assistants', 'Assistants'), ('batch', 'Batch'), ('fine-tune', 'Fine Tune'), ('vision', 'Vision'), ('user_data', 'User Data'), ('evals', 'Evals'), ('fine-tune-results', 'Results')], max_length=20)),
                ('bytes', models.BigIntegerField()),
                ('sha256', models.CharField(help_text="of the stored bytes, or of the split's own file", max_length=64)),
                ('rows', models.PositiveIntegerField(help_text='of a file for training', null=True)),
                ('status', models.CharField(choices=[('uploaded', 'Uploaded'), ('processed', 'Processed'), ('error', 'Error')], default='processed', max_length=10)),
                ('status_details', models.TextField(blank=True)),
                ('expires_at', models.DateTimeField(null=True)),
                ('key', models.CharField(blank=True, help_text='of the bytes in storage, while they exist', max_length=255)),
                ('split', models.CharField(blank=True, max_length=10)),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='ApiPart',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uid', webapp.core.fields.PublicIdField(prefix='part_')),
                ('bytes', models.BigIntegerField()),
                ('key', models.CharField(max_length=255)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name='ApiUpload',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('uid', webapp.core.fields.PublicIdField(prefix='upload_')),
                ('filename', models.CharField(max_length=255)),
                ('purpose', models.CharField(choices=[('assistants', 'Assistants'), ('batch', 'Batch'), ('fine-tune', 'Fine Tune'), ('vision', 'Vision'), ('user_data', 'User Data'), ('evals', 'Evals'), ('fine-tune-results', 'Results')], max_length=20)),
                ('mime_type', models.CharField(max_length=255)),
                ('bytes', models.BigIntegerField(help_text='of the whole file')),
                ('lifetime', models.PositiveIntegerField(help_text='of the file, in seconds', null=True)),
                ('status', models.CharField(choices=[('pending', 'Pending'), ('completed', 'Completed'), ('cancelled', 'Cancelled'), ('expired', 'Expired')], default='pending', max_length=10)),
                ('expires_at', models.DateTimeField()),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='Dataset',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('deleted_at', models.DateTimeField(blank=True, null=True)),
                ('uid', webapp.core.fields.PublicIdField(prefix='ds_')),
                ('name', models.CharField(max_length=120)),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='DatasetImport',
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
                ('uid', webapp.core.fields.PublicIdField(prefix='import_')),
                ('name', models.CharField(blank=True, help_text='name of a new dataset', max_length=120)),
                ('source', models.CharField(help_text='URL or Hugging Face id', max_length=2000)),
                ('options', models.JSONField(default=dict)),
                ('received', models.BigIntegerField(default=0, help_text='bytes')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='DatasetVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('uid', webapp.core.fields.PublicIdField(prefix='file-')),
                ('number', models.PositiveIntegerField()),
                ('sha256', models.CharField(help_text='hash of the three split hashes', max_length=64)),
                ('files', models.JSONField(help_text='split -> {key, sha256, rows, bytes, training_bytes, columns}')),
                ('rows', models.PositiveIntegerField()),
                ('report', models.JSONField(default=dict)),
                ('filename', models.CharField(max_length=255)),
                ('test_opened_at', models.DateTimeField(blank=True, help_text='when the test split was opened', null=True)),
            ],
            options={
                'ordering': ['-number'],
            },
        ),
        migrations.CreateModel(
            name='Transfer',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uid', webapp.core.fields.PublicIdField(prefix='transfer_')),
                ('name', models.CharField(blank=True, help_text='name of a new dataset', max_length=120)),
                ('filename', models.CharField(max_length=255)),
                ('bytes', models.BigIntegerField(help_text='of the whole file')),
                ('received', models.BigIntegerField(default=0, help_text='bytes that are stored')),
                ('parts', models.JSONField(default=list, help_text='storage keys, in order')),
                ('options', models.JSONField(default=dict)),
                ('touched_at', models.DateTimeField(auto_now=True, help_text='when the last part arrived')),
            ],
        ),
        migrations.CreateModel(
            name='Upload',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('uid', webapp.core.fields.PublicIdField(prefix='upload_')),
                ('name', models.CharField(help_text='name of a new dataset', max_length=120)),
                ('filename', models.CharField(max_length=255)),
                ('file', models.CharField(help_text='storage key of the original bytes', max_length=255)),
                ('bytes', models.BigIntegerField()),
                ('sha256', models.CharField(max_length=64)),
                ('state', models.CharField(choices=[('checked', 'Checked'), ('refused', 'Refused'), ('committed', 'Committed')], max_length=10)),
                ('options', models.JSONField(default=dict, help_text='prompt column, columns left out, shares')),
                ('report', models.JSONField(default=dict, help_text='counts, errors by line, duplicates, overlap, first rows')),
            ],
            options={
                'abstract': False,
            },
        ),
    ]
