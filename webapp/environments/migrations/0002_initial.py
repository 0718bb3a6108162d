import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('datasets', '0002_initial'),
        ('environments', '0001_initial'),
        ('teams', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='environment',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='environment',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='environments', to='teams.team'),
        ),
        migrations.AddField(
            model_name='environmentversion',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='environmentversion',
            name='environment',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='versions', to='environments.environment'),
        ),
        migrations.AddField(
            model_name='environmentinspection',
            name='version',
            field=models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='inspection', to='environments.environmentversion'),
        ),
        migrations.AddField(
            model_name='play',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='play',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='plays', to='teams.team'),
        ),
        migrations.AddField(
            model_name='play',
            name='version',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='plays', to='environments.environmentversion'),
        ),
        migrations.AddField(
            model_name='serversecret',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='serversecret',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='server_secrets', to='teams.team'),
        ),
        migrations.AddField(
            model_name='taskdataset',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='taskdataset',
            name='dataset',
            field=models.ForeignKey(blank=True, help_text='gets a new version', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='datasets.dataset'),
        ),
        migrations.AddField(
            model_name='taskdataset',
            name='dataset_version',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='task_datasets', to='datasets.datasetversion'),
        ),
        migrations.AddField(
            model_name='taskdataset',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='task_datasets', to='teams.team'),
        ),
        migrations.AddField(
            model_name='taskdataset',
            name='version',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='task_datasets', to='environments.environmentversion'),
        ),
        migrations.AddConstraint(
            model_name='environmentversion',
            constraint=models.UniqueConstraint(fields=('environment', 'number'), name='environment_version_numbers_are_unique'),
        ),
    ]
