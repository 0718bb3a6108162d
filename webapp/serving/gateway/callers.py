"""Who asks for a completion: a key, or a member in the playground."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.keys.models import ApiKey
from webapp.teams.models import Team, User


@dataclass(frozen=True)
class Caller:
    """``key`` is None in the playground; ``user`` is None for a service key."""

    team: Team
    user: User | None
    key: ApiKey | None

    @property
    def name(self) -> str:
        """A name for the limit of open requests."""
        return f"key {self.key.pk}" if self.key else f"member {self.user and self.user.pk}"
