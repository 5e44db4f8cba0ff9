from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.config import ConfigError, Settings, load, masked

KEY = base64.b64encode(bytes(range(32))).decode()


def aiqyn(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command as a person runs it, with no settings but these."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AIQYN_")}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env=environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_anything_the_embedded_database_and_loopback_are_used(tmp_path: Path) -> None:
    settings, sources = load({"AIQYN_HOME": str(tmp_path)})
    assert settings.database_url == ""
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.trust_dir == tmp_path / "trust"
    assert sources["home"] == "environment"
    assert sources["port"] == "default"


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "aiqyn.toml"
    file.write_text(
        'port = 9000\nworkers = 4\ncors_origins = ["https://a.example"]\ntrust_dir = "/etc/roots"\n'
    )
    settings, sources = load({"AIQYN_HOME": str(tmp_path), "AIQYN_PORT": "9001", "AIQYN_WORKERS": ""})
    assert (settings.port, sources["port"]) == (9001, "environment")
    assert (settings.workers, sources["workers"]) == (4, f"file {file}")
    assert settings.cors_origins == ("https://a.example",)
    assert settings.trust_dir == Path("/etc/roots")


def test_the_file_may_be_anywhere(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.toml"
    file.write_text('home = "/srv/aiqyn"\n')
    settings, sources = load({"AIQYN_CONFIG": str(file)})
    assert settings.vault_key_file == Path("/srv/aiqyn/keys/vault.key")
    assert sources["home"] == f"file {file}"


def test_a_list_in_the_environment_is_separated_by_commas() -> None:
    settings = load({"AIQYN_CORS_ORIGINS": "https://a.example, https://b.example"}).settings
    assert settings.cors_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"AIQYN_DATABSE_URL": "x"}, "AIQYN_DATABSE_URL is no setting; did you mean AIQYN_DATABASE_URL?"),
        ({"AIQYN_SOMETHING": "x"}, "AIQYN_SOMETHING is no setting; aiqyn config lists them all."),
        ({"AIQYN_PORT": "many"}, "AIQYN_PORT is 'many': expected int"),
        ({"AIQYN_PORT": "70000"}, "AIQYN_PORT is '70000': expected int <= 65535"),
        ({"AIQYN_LOG_LEVEL": "loud"}, "AIQYN_LOG_LEVEL is 'loud': invalid enum value"),
        ({"AIQYN_ORIGIN": "two words"}, "AIQYN_ORIGIN is 'two words': expected str matching regex"),
        ({"AIQYN_ORIGIN": "a+b"}, "AIQYN_ORIGIN is 'a+b': expected str matching regex"),
        ({"AIQYN_POOL_MIN": "20"}, "pool_min is 20, more than pool_max, 10."),
        ({"AIQYN_VAULT_KEY": "c2hvcnQ="}, "vault_key must be the base64 of 32 bytes"),
        ({"AIQYN_ADMIN_DATABASE_URL": "postgresql:///x"}, "set both or neither"),
        ({"AIQYN_CONFIG": "/nowhere.toml"}, "AIQYN_CONFIG is /nowhere.toml, and there is no such file."),
    ],
)
def test_a_wrong_variable_is_named(variables: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load({"AIQYN_HOME": "/nowhere"} | variables)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "no setting; did you mean port?"),
        ("port = '9000'", "is '9000': expected int, got str."),
        ("port = ", "is no TOML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "aiqyn.toml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load({"AIQYN_HOME": str(tmp_path)})
    assert message in str(error.value)
    assert str(tmp_path / "aiqyn.toml") in str(error.value)


def test_the_vault_key_comes_from_the_variable_or_from_its_file(tmp_path: Path) -> None:
    assert Settings(home=tmp_path, vault_key=KEY).read_vault_key() == bytes(range(32))
    with pytest.raises(ConfigError, match="run aiqyn init"):
        Settings(home=tmp_path).read_vault_key()
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/vault.key").write_text(KEY + "\n")
    assert Settings(home=tmp_path).read_vault_key() == bytes(range(32))


@pytest.mark.parametrize("wrong", [KEY[:-1], KEY + "\n", KEY[:-2] + "9=", "é" * 44])
def test_only_the_one_spelling_of_a_vault_key_is_taken(wrong: str) -> None:
    with pytest.raises(ConfigError) as error:
        Settings(vault_key=wrong)
    assert wrong.strip() not in str(error.value)


def test_settings_do_not_tell_their_secrets() -> None:
    settings = Settings(vault_key=KEY, database_url="postgresql://someone:hush@db.example/aiqyn")
    assert KEY not in repr(settings)
    assert "hush" not in f"{settings} {settings!r}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@h:5432/d", "postgresql://u:***@h:5432/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://h:5432/d", "postgresql://h:5432/d"),
        ("postgresql://u@/d?host=/a/b&password=p&x=1", "postgresql://u@/d?host=/a/b&password=***&x=1"),
        ("postgresql://u:a/b@c@h/d", "postgresql://u:***@h/d"),
        (r"host=h password='a\' b' user=u", "host=h password=*** user=u"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert masked(url) == shown


@given(st.text(min_size=1), st.sampled_from(["postgresql://u:{}@h/d", "postgresql://h/d?password={}"]))
def test_no_password_is_ever_shown(password: str, url: str) -> None:
    marked = f"SECRET{password}SECRET"
    assert "SECRET" not in masked(url.format(quote(marked, safe="")))


def test_aiqyn_config_shows_values_and_where_they_come_from(tmp_path: Path) -> None:
    (tmp_path / "aiqyn.toml").write_text("workers = 3\n")
    done = aiqyn("config", AIQYN_HOME=str(tmp_path), AIQYN_PORT="8123", AIQYN_VAULT_KEY=KEY)
    assert done.returncode == 0
    lines = done.stdout.split("\n")
    assert [line.split() for line in lines if line.startswith(("AIQYN_PORT", "AIQYN_HOST"))] == [
        ["AIQYN_HOST", "127.0.0.1", "[default]"],
        ["AIQYN_PORT", "8123", "[environment]"],
    ]
    assert f"3  [file {tmp_path / 'aiqyn.toml'}]" in done.stdout
    assert [line.split() for line in lines if line.startswith("AIQYN_VAULT_KEY ")] == [
        ["AIQYN_VAULT_KEY", "set", "[environment]"]
    ]
    assert KEY not in done.stdout + done.stderr


def test_aiqyn_config_speaks_json_without_secrets() -> None:
    done = aiqyn("config", "--json", AIQYN_VAULT_KEY=KEY, AIQYN_DATABASE_URL="postgresql://u:hush@h/d")
    shown = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert set(shown) == set(Settings.__struct_fields__)
    assert shown["vault_key"]["value"] == "set"
    assert shown["database_url"] == {
        "name": "database_url",
        "variable": "AIQYN_DATABASE_URL",
        "value": "postgresql://u:***@h/d",
        "source": "environment",
        "doc": shown["database_url"]["doc"],
    }
    assert all(entry["doc"] for entry in shown.values())


def test_an_error_is_one_line_and_a_traceback_only_on_demand() -> None:
    done = aiqyn("config", AIQYN_PORT="many")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "aiqyn: AIQYN_PORT is 'many': expected int, got str.\n"
    assert "Traceback" in aiqyn("config", AIQYN_PORT="many", AIQYN_DEBUG="1").stderr


def test_wrong_usage_ends_with_two() -> None:
    done = aiqyn("confg")
    assert done.returncode == 2
    assert "Did you mean 'config'" in done.stderr


def test_every_subcommand_has_help() -> None:
    from cli.main import SUBCOMMANDS

    overview = aiqyn("--help").stdout
    for subcommand in SUBCOMMANDS:
        assert subcommand.name in overview
        assert aiqyn(subcommand.name, "--help").returncode == 0


def test_the_version_is_told() -> None:
    assert aiqyn("--version").stdout.startswith("aiqyn 0.")


def test_without_the_server_parts_help_and_config_work_and_others_say_what_is_missing(tmp_path: Path) -> None:
    # A finder that knows nothing of psycopg stands for an installation without the extra `server`.
    program = (
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('psycopg', 'yoyo', 'fastapi'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
        "from cli.main import main\n"
        "main()\n"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *arguments]
        environ = {"AIQYN_HOME": str(tmp_path), "PATH": os.defpath}
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    assert run("--help").returncode == 0
    assert run("config").returncode == 0
    done = run("migrate")
    assert done.returncode == 1
    assert done.stderr == (
        "aiqyn: this command needs the server (no psycopg here): install aiqyn with its extra [server]\n"
    )


def test_aiqyn_migrate_prepares_the_embedded_database_once(short_path: Path) -> None:
    home = str(short_path)
    planned = aiqyn("migrate", "--dry-run", AIQYN_HOME=home).stdout.split("\n")
    assert planned[0] == "pending  0001.roles"
    assert aiqyn("migrate", AIQYN_HOME=home).stdout.startswith("applying 0001.roles\n")
    assert "has every migration" in aiqyn("migrate", AIQYN_HOME=home).stdout
    assert aiqyn("migrate", "--status", AIQYN_HOME=home).stdout.startswith("applied  0001.roles\n")
