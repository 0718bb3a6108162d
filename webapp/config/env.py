"""Readers for settings that come from the environment; a bad value stops the start and says why."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from workers.outbound import AllowList

TRUE, FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


def text(name: str, default: str = "") -> str:
    """The variable, or what the file named by ``<name>_FILE`` holds (for mounted secrets)."""
    if file := os.environ.get(f"{name}_FILE"):
        return Path(file).read_text().strip()
    return os.environ.get(name, default)


def secret(file: Path) -> str:
    """A random text that is kept in ``file`` from the first call on."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(50))
        with suppress(FileExistsError):
            os.link(draft, file)  # of several processes that start at once, the first one wins
        draft.unlink()
    return file.read_text()


def flag(name: str, default: bool) -> bool:
    """A yes or no."""
    value = text(name, str(default)).lower()
    if value not in TRUE | FALSE:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be one of 1, 0, true, false, yes, no")
    return value in TRUE


def number(name: str, default: int, at_least: int = 0) -> int:
    """A whole number of at least ``at_least``."""
    value = text(name, str(default))
    if not value.isdigit() or int(value) < at_least:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be a whole number of at least {at_least}")
    return int(value)


def choice(name: str, default: str, options: set[str]) -> str:
    """One of the options."""
    value = text(name, default)
    if value not in options:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be one of {', '.join(sorted(options))}")
    return value


def price(name: str) -> float | None:
    """Money, in whichever currency the installation counts; None unless stated."""
    value = text(name)
    if value and not re.fullmatch(r"\d+(\.\d+)?", value):
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be a number such as 2.5")
    return float(value) if value else None


def words(name: str, default: str = "") -> list[str]:
    """A list separated by commas."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def folders(name: str, default: str) -> list[Path]:
    """Absolute folders separated by commas, links followed."""
    found = [Path(word) for word in words(name, default)]
    if relative := [path for path in found if not path.is_absolute()]:
        raise ImproperlyConfigured(f"{name} names {relative[0]}; each folder must begin with /")
    return [path.resolve() for path in found]


def outbound_allow(name: str) -> list[str]:
    """Host names, addresses and networks that requests for users may reach beyond public addresses."""
    listed = words(name)
    try:
        AllowList.parse(listed)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error
    os.environ[name] = ",".join(listed)  # where workers.outbound reads it, also if a file held it
    return listed


def read_embedded_urls(folder: Path) -> dict[str, str]:
    """The addresses of the embedded services, as the launcher wrote them; empty if it never ran."""
    file = folder / "services.json"
    return json.loads(file.read_text()) if file.exists() else {}


# A host that vanishes without a word is missed after half a minute, not after the quarter of an hour of TCP.
CONNECTION_OPTIONS = {
    "connect_timeout": "10", "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}  # fmt: skip


def database(url: str) -> dict[str, object]:
    """A Django database from ``postgresql://user:password@host:port/name?option=value``."""
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ImproperlyConfigured(
            f"DATABASE_URL begins with {parts.scheme!r}; Groove needs postgresql://user:password@host:port/name"
        )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/") or "groove",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "OPTIONS": CONNECTION_OPTIONS | dict(parse_qsl(parts.query)),
    }


def storage(url: str) -> dict[str, object]:
    """A Django storage from ``file:///folder`` or ``s3://bucket/prefix?endpoint_url=…&region_name=…``.

    S3 credentials come from the usual AWS variables, never from the address.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": unquote(parts.path), "file_permissions_mode": 0o600,
                        "directory_permissions_mode": 0o700},
        }  # fmt: skip
    if parts.scheme == "s3":
        options = {"bucket_name": parts.netloc, "location": parts.path.strip("/"), "file_overwrite": True}
        return {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": options | dict(parse_qsl(parts.query)),
        }
    raise ImproperlyConfigured(f"STORAGE_URL is {url!r}; it must begin with file:// or s3://")


def mail(url: str, log: bool = True) -> dict[str, object]:
    """Django's mail settings from ``smtp://user:password@host:port?tls=1``; ``smtps`` for TLS from the start.

    Without an address, mails are written to the log of the process that sends them, or with ``log`` off
    nowhere: they hold links that let their bearer in.
    """
    parts = urlsplit(url)
    if not url:
        kind = "console" if log else "dummy"
        return {"EMAIL_BACKEND": f"django.core.mail.backends.{kind}.EmailBackend"}
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise ImproperlyConfigured(
            "MAIL_URL must look like smtp://user:password@host:port?tls=1, or smtps://…"
        )
    secure = parts.scheme == "smtps"
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or (465 if secure else 25),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": secure,
        "EMAIL_USE_TLS": not secure and dict(parse_qsl(parts.query)).get("tls", "0") in TRUE,
    }


def replace_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def count_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
