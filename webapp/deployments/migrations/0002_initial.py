import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('deployments', '0001_initial'),
        ('jobs', '0001_initial'),
        ('registry', '0001_initial'),
        ('teams', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='deployment',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='deployment',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deployments', to='teams.team'),
        ),
        migrations.AddField(
            model_name='promotion',
            name='deployment',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='promotions', to='deployments.deployment'),
        ),
        migrations.AddField(
            model_name='promotion',
            name='promoted_by',
            field=models.ForeignKey(help_text='empty: a service key', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='servedversion',
            name='base_model',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='served_versions', to='registry.basemodel'),
        ),
        migrations.AddField(
            model_name='servedversion',
            name='checkpoint',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='served_versions', to='jobs.checkpoint'),
        ),
        migrations.AddField(
            model_name='servedversion',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='servedversion',
            name='deployment',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='versions', to='deployments.deployment'),
        ),
        migrations.AddField(
            model_name='servedversion',
            name='tuned_model',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='served_versions', to='registry.tunedmodel'),
        ),
        migrations.AddField(
            model_name='promotion',
            name='previous',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='deployments.servedversion'),
        ),
        migrations.AddField(
            model_name='promotion',
            name='version',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='promotions', to='deployments.servedversion'),
        ),
        migrations.AddConstraint(
            model_name='deployment',
            constraint=models.UniqueConstraint(fields=('team', 'name'), name='one_deployment_of_a_name_per_team'),
        ),
        migrations.AddConstraint(
            model_name='servedversion',
            constraint=models.UniqueConstraint(fields=('deployment', 'number'), name='served_version_numbers_are_unique'),
        ),
    ]
