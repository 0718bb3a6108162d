import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('jobs', '0003_initial'),
        ('retention', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='release',
            name='released_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='suitescore',
            name='job',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='suite_scores', to='jobs.job'),
        ),
        migrations.AddConstraint(
            model_name='jobsuite',
            constraint=models.UniqueConstraint(fields=('job', 'name'), name='one_suite_of_a_name_per_job'),
        ),
        migrations.AddConstraint(
            model_name='jobsuite',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('built_in', ''), ('dataset_version__isnull', False), ('grader_version__isnull', False)), models.Q(models.Q(('built_in', ''), _negated=True), ('dataset_version__isnull', True), ('grader_version__isnull', True)), _connector='OR'), name='a_suite_has_one_source'),
        ),
        migrations.AddConstraint(
            model_name='suitescore',
            constraint=models.UniqueConstraint(fields=('job', 'suite', 'stage', 'step'), name='one_score_of_a_suite_per_step'),
        ),
    ]
