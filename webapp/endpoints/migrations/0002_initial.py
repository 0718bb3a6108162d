import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('endpoints', '0001_initial'),
        ('registry', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='endpoint',
            name='base_model',
            field=models.ForeignKey(blank=True, help_text='served by workers, if set', null=True, on_delete=django.db.models.deletion.PROTECT, to='registry.basemodel'),
        ),
    ]
