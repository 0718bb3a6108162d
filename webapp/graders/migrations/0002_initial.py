import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('datasets', '0002_initial'),
        ('graders', '0001_initial'),
        ('registry', '0001_initial'),
        ('teams', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='grader',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='grader',
            name='dataset',
            field=models.ForeignKey(blank=True, help_text='rows of checks; none: chosen at each check', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='datasets.dataset'),
        ),
        migrations.AddField(
            model_name='grader',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='graders', to='teams.team'),
        ),
        migrations.AddField(
            model_name='gradercheck',
            name='dataset_version',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='datasets.datasetversion'),
        ),
        migrations.AddField(
            model_name='gradertest',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='gradertest',
            name='grader',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tests', to='graders.grader'),
        ),
        migrations.AddField(
            model_name='gradertrial',
            name='base_model',
            field=models.ForeignKey(blank=True, help_text='writes the samples, if set', null=True, on_delete=django.db.models.deletion.SET_NULL, to='registry.basemodel'),
        ),
        migrations.AddField(
            model_name='gradertrial',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='gradertrial',
            name='dataset_version',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='datasets.datasetversion'),
        ),
        migrations.AddField(
            model_name='gradertrial',
            name='grader',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='trials', to='graders.grader'),
        ),
        migrations.AddField(
            model_name='gradertrial',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='grader_trials', to='teams.team'),
        ),
        migrations.AddField(
            model_name='graderversion',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='graderversion',
            name='grader',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='versions', to='graders.grader'),
        ),
        migrations.AddField(
            model_name='gradertrial',
            name='second',
            field=models.ForeignKey(blank=True, help_text='grades the same answers, to compare', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='graders.graderversion'),
        ),
        migrations.AddField(
            model_name='gradercheck',
            name='version',
            field=models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='check_run', to='graders.graderversion'),
        ),
        migrations.AddConstraint(
            model_name='graderversion',
            constraint=models.UniqueConstraint(fields=('grader', 'number'), name='grader_version_numbers_are_unique'),
        ),
    ]
