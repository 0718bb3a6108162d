import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('jobs', '0001_initial'),
        ('registry', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='base_model',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='jobs', to='registry.basemodel'),
        ),
        migrations.AddField(
            model_name='job',
            name='cloned_from',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='clones', to='jobs.job'),
        ),
        migrations.AddField(
            model_name='job',
            name='control_of',
            field=models.ForeignKey(blank=True, help_text='the job that this one is compared with', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='control_runs', to='jobs.job'),
        ),
    ]
