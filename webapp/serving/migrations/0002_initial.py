import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('serving', '0001_initial'),
        ('teams', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='usage',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='usage', to='teams.team'),
        ),
        migrations.AddConstraint(
            model_name='servedadapter',
            constraint=models.UniqueConstraint(fields=('server', 'sha256'), name='one_row_per_served_adapter'),
        ),
        migrations.AddConstraint(
            model_name='usage',
            constraint=models.UniqueConstraint(fields=('team', 'key', 'model', 'day'), name='one_usage_row_per_day', nulls_distinct=False),
        ),
    ]
