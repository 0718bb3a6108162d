import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('datasets', '0002_initial'),
        ('deployments', '0002_initial'),
        ('interactions', '0001_initial'),
        ('registry', '0001_initial'),
        ('teams', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='datasetcopy',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='teams.team'),
        ),
        migrations.AddField(
            model_name='datasetcopy',
            name='version',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='datasets.datasetversion'),
        ),
        migrations.AddField(
            model_name='feedback',
            name='member',
            field=models.ForeignKey(help_text='of the team', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='feedback',
            name='supersedes',
            field=models.OneToOneField(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='superseded_by', to='interactions.feedback'),
        ),
        migrations.AddField(
            model_name='feedback',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='feedback', to='teams.team'),
        ),
        migrations.AddField(
            model_name='interaction',
            name='base_model',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='interactions', to='registry.basemodel'),
        ),
        migrations.AddField(
            model_name='interaction',
            name='deployment',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='interactions', to='deployments.deployment'),
        ),
        migrations.AddField(
            model_name='interaction',
            name='key_user',
            field=models.ForeignKey(help_text='of the key', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='interaction',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='interactions', to='teams.team'),
        ),
        migrations.AddField(
            model_name='interaction',
            name='tuned_model',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='interactions', to='registry.tunedmodel'),
        ),
        migrations.AddField(
            model_name='interaction',
            name='version',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='interactions', to='deployments.servedversion'),
        ),
        migrations.AddField(
            model_name='feedback',
            name='interaction',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='feedback', to='interactions.interaction'),
        ),
        migrations.AddField(
            model_name='interactionrules',
            name='team',
            field=models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='interaction_rules', to='teams.team'),
        ),
        migrations.AddField(
            model_name='placeholder',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='teams.team'),
        ),
        migrations.AddIndex(
            model_name='datasetcopy',
            index=models.Index(fields=['team', 'prompt_digest'], name='copies_of_prompt'),
        ),
        migrations.AddIndex(
            model_name='datasetcopy',
            index=models.Index(fields=['team', 'subject_hash'], name='copies_of_subject'),
        ),
        migrations.AddIndex(
            model_name='interaction',
            index=models.Index(fields=['team', '-id'], name='interactions_of_team'),
        ),
        migrations.AddIndex(
            model_name='interaction',
            index=models.Index(fields=['team', 'session_hash'], name='interactions_of_session'),
        ),
        migrations.AddIndex(
            model_name='interaction',
            index=models.Index(fields=['team', 'subject_hash'], name='interactions_of_subject'),
        ),
        migrations.AddIndex(
            model_name='interaction',
            index=models.Index(fields=['team', 'model', '-id'], name='interactions_of_model'),
        ),
        migrations.AddIndex(
            model_name='interaction',
            index=django.contrib.postgres.indexes.GinIndex(django.contrib.postgres.indexes.OpClass('metadata', name='jsonb_path_ops'), name='interactions_by_metadata'),
        ),
        migrations.AddIndex(
            model_name='interaction',
            index=django.contrib.postgres.indexes.GinIndex(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('search_text'), name='gin_trgm_ops'), name='interactions_by_text'),
        ),
        migrations.AddConstraint(
            model_name='interaction',
            constraint=models.CheckConstraint(condition=models.Q(('verified', True), models.Q(('consent', 'train'), _negated=True), _connector='OR'), name='only_verified_interactions_train'),
        ),
        migrations.AddConstraint(
            model_name='interaction',
            constraint=models.CheckConstraint(condition=models.Q(('consent', 'none'), _negated=True), name='no_consent_no_content'),
        ),
        migrations.AddConstraint(
            model_name='interaction',
            constraint=models.UniqueConstraint(condition=models.Q(('idempotency_key', ''), _negated=True), fields=('team', 'model', 'idempotency_key'), name='one_interaction_per_idempotency_key'),
        ),
        migrations.AddIndex(
            model_name='feedback',
            index=models.Index(fields=['team', 'session_hash'], name='feedback_of_session'),
        ),
        migrations.AddConstraint(
            model_name='feedback',
            constraint=models.CheckConstraint(condition=models.Q(('interaction', None), ('session_hash', ''), _connector='XOR'), name='feedback_on_one_thing'),
        ),
        migrations.AddConstraint(
            model_name='feedback',
            constraint=models.UniqueConstraint(condition=models.Q(('supersedes', None), models.Q(('kind', 'comment'), _negated=True)), fields=('interaction', 'session_hash', 'actor_hash', 'metric'), name='one_first_vote_per_actor_and_metric', nulls_distinct=False),
        ),
        migrations.AddConstraint(
            model_name='placeholder',
            constraint=models.UniqueConstraint(fields=('team', 'session_hash', 'kind', 'number'), name='a_placeholder_has_one_value'),
        ),
        migrations.AddConstraint(
            model_name='placeholder',
            constraint=models.UniqueConstraint(fields=('team', 'session_hash', 'kind', 'value_hash'), name='a_value_has_one_placeholder'),
        ),
    ]
