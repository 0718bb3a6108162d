from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Node',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=200, unique=True)),
                ('versions', models.JSONField(default=dict)),
                ('devices', models.JSONField(default=dict)),
                ('sandbox', models.JSONField(default=dict, help_text='{available, layers, reason, remedy}')),
                ('health', models.JSONField(default=dict, help_text='room, and how busy CPU and GPUs are: workers.bridge.nodes.read_health')),
                ('started_at', models.DateTimeField()),
                ('seen_at', models.DateTimeField()),
            ],
            options={
                'ordering': ['name'],
            },
        ),
    ]
