"""Readers for settings in the environment. A bad value raises ImproperlyConfigured."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from workers.outbound import AllowList

DATABASE_SHAPE = "postgresql://user:password@host:port/name"
MAIL_SHAPE = "smtp://user:password@host:port?tls=1, or smtps://…"
TRUE, FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


def text(name: str, default: str = "") -> str:
    """Read a variable, or the file that ``<name>_FILE`` names (for mounted secrets)."""
    if file := os.environ.get(f"{name}_FILE"):
        try:
            return Path(file).read_text().strip()
        except (OSError, UnicodeError) as error:
            raise ImproperlyConfigured(f"{name}_FILE names {file}, which cannot be read: {error}") from error
    return os.environ.get(name, default)


def secret(file: Path) -> str:
    """Read a random text from ``file``, which the first call creates."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(50))
        with suppress(FileExistsError):
            os.link(draft, file)  # if several processes start at once, the first one wins
        draft.unlink()
    return file.read_text()


def flag(name: str, default: bool) -> bool:
    """Read a yes or no."""
    value = text(name, str(default)).lower()
    if value not in TRUE | FALSE:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be one of 1, 0, true, false, yes, no")
    return value in TRUE


def number(name: str, default: int, at_least: int = 0) -> int:
    """Read a whole number of at least ``at_least``."""
    value = text(name, str(default))
    if not re.fullmatch(r"[0-9]{1,18}", value) or int(value) < at_least:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be a whole number of at least {at_least}")
    return int(value)


def choice(name: str, default: str, options: set[str]) -> str:
    """Read one of the options."""
    value = text(name, default)
    if value not in options:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be one of {', '.join(sorted(options))}")
    return value


def price(name: str) -> float | None:
    """Read a price in the installation's own currency; None if unset."""
    value = text(name)
    if value and not re.fullmatch(r"\d+(\.\d+)?", value):
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be a number such as 2.5")
    return float(value) if value else None


def comma_list(name: str, default: str = "") -> list[str]:
    """Read a comma-separated list."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def folders(name: str, default: str) -> list[Path]:
    """Read comma-separated absolute folders, and follow links."""
    found = [Path(word) for word in comma_list(name, default)]
    if relative := [path for path in found if not path.is_absolute()]:
        raise ImproperlyConfigured(f"{name} names {relative[0]}; each folder must start with /")
    return [path.resolve() for path in found]


def outbound_allow(name: str) -> list[str]:
    """Read hosts, addresses and networks that outbound requests may reach besides public ones."""
    listed = comma_list(name)
    try:
        AllowList.parse(listed)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error
    os.environ[name] = ",".join(listed)  # workers.outbound reads it there; the value may come from a file
    return listed


def read_embedded_urls(folder: Path) -> dict[str, str]:
    """Read the URLs of the embedded services; empty if they are not running."""
    file = folder / "services.json"
    return json.loads(file.read_text()) if file.exists() else {}


def _split_url(name: str, url: str, shape: str) -> SplitResult:
    """Split a URL and check its port. The error shows nothing of the URL, which may contain a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ImproperlyConfigured(
            f"{name} cannot be read; it must look like {shape}, with special characters of a password as %40"
        ) from None
    return parts


# Detect a vanished host after half a minute; TCP's own default is about a quarter of an hour.
CONNECTION_OPTIONS = {
    "connect_timeout": "10", "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}  # fmt: skip


def database(url: str) -> dict[str, object]:
    """Build a Django database from ``postgresql://user:password@host:port/name?option=value``."""
    parts = _split_url("DATABASE_URL", url, DATABASE_SHAPE)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ImproperlyConfigured(
            f"DATABASE_URL starts with {parts.scheme!r}; Groove needs {DATABASE_SHAPE}"
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
    """Build a Django storage from ``file:///folder`` or ``s3://bucket/prefix?endpoint_url=…``.

    S3 credentials come from the usual AWS variables, never from the URL.
    """
    parts = _split_url("STORAGE_URL", url, "file:///folder or s3://bucket/prefix")
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
    raise ImproperlyConfigured(f"STORAGE_URL is {url!r}; it must start with file:// or s3://")


def mail(url: str, log: bool = True) -> dict[str, object]:
    """Build mail settings from ``smtp://user:password@host:port?tls=1`` or ``smtps://…``.

    Without a URL, e-mails go to the process's log, or nowhere without ``log``: they contain secret links.
    """
    parts = _split_url("MAIL_URL", url, MAIL_SHAPE)
    if not url:
        kind = "console" if log else "dummy"
        return {"EMAIL_BACKEND": f"django.core.mail.backends.{kind}.EmailBackend"}
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise ImproperlyConfigured(f"MAIL_URL must look like {MAIL_SHAPE}")
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
    """Return the URL of another database on the same server."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def count_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
