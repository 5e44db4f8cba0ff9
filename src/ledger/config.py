"""Settings: from ``AIQYN_…`` variables, an optional TOML file, and defaults, in this order.

The file is the one that ``AIQYN_CONFIG`` names, else ``aiqyn.toml`` in the home folder where present. An
unknown name or a bad value is an error: a setting that is silently ignored is worse than none.
"""

import base64
import binascii
import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from ledger.errors import AiqynError

PREFIX = "AIQYN_"
# Read by the program, but no settings: where the file is, whether errors show their traceback, and the token
# of the body for which a client of the service speaks.
OTHER_VARIABLES = ("AIQYN_CONFIG", "AIQYN_DEBUG", "AIQYN_TOKEN")
FILE_NAME = "aiqyn.toml"
VAULT_KEY_BYTES = 32


class ConfigError(AiqynError):
    """A setting is unknown or its value is unusable."""

    code = "config"
    title = "The configuration is wrong"


def default_home(environ: Mapping[str, str]) -> Path:
    """The folder of a service for root, else the user's own one for data (XDG base directories)."""
    if os.geteuid() == 0:
        return Path("/var/lib/aiqyn")
    data = environ.get("XDG_DATA_HOME", "")
    return (Path(data) if data.startswith("/") else Path.home() / ".local" / "share") / "aiqyn"


def _setting(doc: str, *, hide: Literal["value", "password"] | None = None, **limits: Any) -> Meta:  # noqa: ANN401
    return Meta(description=doc, extra={"hide": hide}, **limits)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force. Relative paths are below ``home``."""

    home: Annotated[Path, _setting("Folder of the embedded database, keys and the high-water mark.")] = (
        msgspec.field(default_factory=lambda: default_home(os.environ))
    )
    database_url: Annotated[
        str, _setting("PostgreSQL as the service role; empty: the embedded server in home.", hide="password")
    ] = ""
    admin_database_url: Annotated[
        str,
        _setting(
            "PostgreSQL as the owner of the schema, who migrates; empty: database_url.", hide="password"
        ),
    ] = ""
    origin: Annotated[
        str,
        _setting(
            "The log's origin line and key name; never changes.", pattern=r"\A[^\s+]+\Z", max_length=255
        ),
    ] = "aiqyn.localhost/log"
    host: Annotated[str, _setting("Address the service listens on.", min_length=1)] = "127.0.0.1"
    port: Annotated[int, _setting("Port the service listens on.", ge=1, le=65_535)] = 8000
    workers: Annotated[int, _setting("Processes that serve HTTP.", ge=1, le=256)] = 1
    vault_key: Annotated[
        str, _setting("Key that wraps the vault's keys: base64 of 32 bytes.", hide="value")
    ] = ""
    vault_key_file: Annotated[Path, _setting("File with that key, read when vault_key is empty.")] = Path(
        "keys/vault.key"
    )
    trust_dir: Annotated[Path, _setting("Folder of the pinned root certificates (PEM or DER).")] = Path(
        "trust"
    )
    witness_policy: Annotated[
        Path, _setting("File with the witnesses and their quorum (C2SP tlog-policy); none if it is missing.")
    ] = Path("witnesses.policy")
    witness_seconds: Annotated[
        float, _setting("Seconds between two cosigned checkpoints.", ge=0.1, le=600)
    ] = 10.0
    witness_late_seconds: Annotated[
        float, _setting("Seconds without a quorum of witnesses after which it is late.", ge=1, le=86_400)
    ] = 60.0
    commit_digests_hours: Annotated[
        int, _setting("Hours between two committed digests of the published tables; 0: never.", ge=0, le=8760)
    ] = 24
    group_max: Annotated[int, _setting("Most events in one append transaction.", ge=1, le=65_536)] = 1024
    pool_min: Annotated[int, _setting("Database connections each process keeps open.", ge=0, le=1000)] = 2
    pool_max: Annotated[int, _setting("Most database connections of a process.", ge=1, le=1000)] = 10
    clock_skew_seconds: Annotated[
        int, _setting("How far an event's iat may be from our clock.", ge=1, le=3600)
    ] = 120
    body_limit_bytes: Annotated[int, _setting("Longest request body.", ge=65_536, le=1_073_741_824)] = (
        1_048_576
    )
    cors_origins: Annotated[
        tuple[str, ...], _setting("Sites whose pages may read the API; * for all. Separated by commas.")
    ] = ("*",)
    webhooks_allow_private: Annotated[
        bool, _setting("Webhooks may go inside the network, to any port and by http: never in production.")
    ] = False
    erase_expired: Annotated[
        bool, _setting("The service erases what is over its term by retention.toml, and says so in the log.")
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _setting("Least level that is logged.")
    ] = "info"

    def __post_init__(self) -> None:
        """Anchor the paths, and refuse what is wrong only together."""
        home = self.home.expanduser().absolute()
        msgspec.structs.force_setattr(self, "home", home)
        for name in ("vault_key_file", "trust_dir", "witness_policy"):
            msgspec.structs.force_setattr(self, name, home / getattr(self, name).expanduser())
        if self.pool_min > self.pool_max:
            raise ConfigError(f"pool_min is {self.pool_min}, more than pool_max, {self.pool_max}.")
        if self.admin_database_url and not self.database_url:
            raise ConfigError("admin_database_url is set and database_url is not: set both or neither.")
        if self.vault_key:
            _decode_vault_key(self.vault_key, "vault_key")

    def __repr__(self) -> str:
        """Without secrets, so that a traceback or a log line cannot tell them."""
        values = ", ".join(f"{name}={_shown(self, field)!r}" for name, field in _FIELDS.items())
        return f"Settings({values})"

    def read_vault_key(self) -> bytes:
        """The 32 bytes that wrap the vault's keys, from ``vault_key`` or its file.

        Raises:
            ConfigError: there is none, or it is not the base64 of 32 bytes.
        """
        if self.vault_key:
            return _decode_vault_key(self.vault_key, "vault_key")
        try:
            text = self.vault_key_file.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"the vault's key cannot be read from {self.vault_key_file}: "
                "run aiqyn init, or set AIQYN_VAULT_KEY."
            ) from error
        return _decode_vault_key(text.strip(), str(self.vault_key_file))


class Entry(NamedTuple):
    """One line of ``aiqyn config``."""

    name: str
    variable: str
    value: str
    """Fit to print: a secret is ``set`` or ``not set``, a URL has no password."""
    source: str
    """``environment``, ``file PATH`` or ``default``."""
    doc: str


class Loaded(NamedTuple):
    """Settings, and where each came from."""

    settings: Settings
    sources: dict[str, str]

    def entries(self) -> list[Entry]:
        """Every setting, in the order of the class."""
        return [
            Entry(
                name,
                PREFIX + name.upper(),
                _shown(self.settings, field),
                self.sources[name],
                _meta(field).description or "",
            )
            for name, field in _FIELDS.items()
        ]


def load(environ: Mapping[str, str] | None = None) -> Loaded:
    """Read the settings; an empty variable counts as not set.

    Raises:
        ConfigError: naming the variable or the file and key, and what it takes.
    """
    environ = os.environ if environ is None else environ
    variables = {name: value for name, value in environ.items() if name.startswith(PREFIX) and value}
    known = [*(PREFIX + name.upper() for name in _FIELDS), *OTHER_VARIABLES]
    for variable in variables:
        if variable not in known:
            raise ConfigError(f"{variable} is no setting{_nearest(variable, known)}")

    home = Path(variables.get("AIQYN_HOME") or default_home(environ)).expanduser()
    file, values = _read_file(variables.get("AIQYN_CONFIG"), home)
    found: dict[str, tuple[Any, str]] = {"home": (home, "default")}
    for name, value in values.items():
        if name not in _FIELDS:
            raise ConfigError(f"{name} in {file} is no setting{_nearest(name, list(_FIELDS))}")
        found[name] = (_convert(name, value, f"{name} in {file}", strict=True), f"file {file}")
    for name in _FIELDS:
        variable = PREFIX + name.upper()
        if (value := variables.get(variable)) is not None:
            found[name] = (_convert(name, _split_list(name, value), variable, strict=False), "environment")
    settings = Settings(**{name: value for name, (value, _) in found.items()})
    return Loaded(settings, {name: found[name][1] if name in found else "default" for name in _FIELDS})


def masked(url: str) -> str:
    """A connection URL or string as it may be shown: without passwords."""
    # Up to the last @, because a password that was not percent-encoded may contain one, or a slash.
    url = re.sub(r"\A([^:/?]*://[^:@/?]*:).*@", r"\1***@", url, flags=re.DOTALL)
    return re.sub(r"(?i)(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)", r"\1***", url)


_FIELDS = {field.name: field for field in msgspec.structs.fields(Settings)}


def _meta(field: msgspec.structs.FieldInfo) -> Meta:
    meta: Meta = field.type.__metadata__[0]
    return meta


def _shown(settings: Settings, field: msgspec.structs.FieldInfo) -> str:
    value = getattr(settings, field.name)
    match (_meta(field).extra or {}).get("hide"):
        case "value":
            return "set" if value else "not set"
        case "password":
            return masked(value)
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _read_file(named: str | None, home: Path) -> tuple[Path, dict[str, Any]]:
    file = Path(named).expanduser() if named else home / FILE_NAME
    try:
        return file, tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if named is None:
            return file, {}
        raise ConfigError(f"AIQYN_CONFIG is {named}, and there is no such file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is no TOML: {error}.") from error
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from error


def _convert(name: str, value: Any, where: str, *, strict: bool) -> Any:  # noqa: ANN401
    field = _FIELDS[name]
    try:
        return msgspec.convert(value, field.type, strict=strict, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        shown = "" if (_meta(field).extra or {}).get("hide") else f" is {value!r}"
        raise ConfigError(f"{where}{shown}: {_plain(str(error))}") from error


def _decode_path(kind: type, value: Any) -> Any:  # noqa: ANN401
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise msgspec.ValidationError(f"Expected `str`, got `{type(value).__name__}`")


def _split_list(name: str, value: str) -> str | list[str]:
    if _FIELDS[name].type.__origin__ == tuple[str, ...]:
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _plain(message: str) -> str:
    return message[:1].lower() + message[1:].replace("`", "").rstrip(".") + "."


def _nearest(name: str, names: list[str]) -> str:
    # Without the prefix, which would make every variable look like every other one.
    shorter = {known.removeprefix(PREFIX): known for known in names}
    close = get_close_matches(name.removeprefix(PREFIX), shorter, n=1)
    return f"; did you mean {shorter[close[0]]}?" if close else "; aiqyn config lists them all."


def _decode_vault_key(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != VAULT_KEY_BYTES or base64.b64encode(key).decode() != text:
        raise ConfigError(f"{where} must be the base64 of {VAULT_KEY_BYTES} bytes, as aiqyn init makes it.")
    return key
