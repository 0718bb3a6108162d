"""The processes of an installation: embedded services, their supervisor, and its restarts."""
