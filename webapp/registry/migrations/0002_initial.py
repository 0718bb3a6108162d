import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('registry', '0001_initial'),
        ('teams', '0001_initial'),
        ('work', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='basemodel',
            name='team',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='base_models', to='teams.team'),
        ),
        migrations.AddField(
            model_name='export',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='export',
            name='node',
            field=models.ForeignKey(blank=True, help_text='makes or made it', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='exports', to='work.node'),
        ),
        migrations.AddField(
            model_name='inspection',
            name='base',
            field=models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='inspection', to='registry.basemodel'),
        ),
        migrations.AddField(
            model_name='tunedmodel',
            name='base_model',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='tuned_models', to='registry.basemodel'),
        ),
        migrations.AddField(
            model_name='tunedmodel',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tuned_models', to='teams.team'),
        ),
        migrations.AddField(
            model_name='export',
            name='model',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='exports', to='registry.tunedmodel'),
        ),
        migrations.AddConstraint(
            model_name='export',
            constraint=models.UniqueConstraint(fields=('model', 'kind'), name='a_model_has_one_export_of_a_kind'),
        ),
    ]
