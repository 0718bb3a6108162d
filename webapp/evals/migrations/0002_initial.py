import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('evals', '0001_initial'),
        ('interactions', '0001_initial'),
        ('keys', '0001_initial'),
        ('teams', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='eval',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='eval',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='evals', to='teams.team'),
        ),
        migrations.AddField(
            model_name='evalrun',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='evalrun',
            name='eval',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='runs', to='evals.eval'),
        ),
        migrations.AddField(
            model_name='evalrun',
            name='key',
            field=models.ForeignKey(help_text='whose use of models is counted', null=True, on_delete=django.db.models.deletion.SET_NULL, to='keys.apikey'),
        ),
        migrations.AddField(
            model_name='evalrun',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='eval_runs', to='teams.team'),
        ),
        migrations.AddField(
            model_name='outputitem',
            name='interaction',
            field=models.ForeignKey(help_text='a stored completion', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='interactions.interaction', to_field='uid'),
        ),
        migrations.AddField(
            model_name='outputitem',
            name='run',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='items', to='evals.evalrun'),
        ),
        migrations.AddConstraint(
            model_name='outputitem',
            constraint=models.UniqueConstraint(fields=('run', 'number'), name='one_output_item_a_row'),
        ),
    ]
