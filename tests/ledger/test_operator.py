"""The operator's keys are written once, for their owner alone, and belong to one log."""

from __future__ import annotations

import os
import stat

import pytest

from ledger.config import ConfigError, Settings
from ledger.operator import KeysError, OperatorKeys, keys_folder

ORIGIN = "test.example/log"
NAMES = ["clock.key", "gateway.key", "log-mldsa.key", "log.key", "operator.key", "vault.key"]


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home", origin=ORIGIN)


def texts(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same(one, two):
    return (one.log.to_skey(), one.vault) == (two.log.to_skey(), two.vault) and list(one.signing()) == list(
        two.signing()
    )


def test_what_is_saved_is_loaded_again(settings):
    keys = OperatorKeys.generate(ORIGIN)
    folder = keys.save(settings)
    assert folder == keys_folder(settings)
    assert same(OperatorKeys.load(settings), keys)


def test_only_the_owner_can_read_them_whatever_the_umask(settings):
    umask = os.umask(0)
    try:
        folder = OperatorKeys.generate(ORIGIN).save(settings)
    finally:
        os.umask(umask)
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("kept", NAMES)
def test_a_key_that_exists_is_never_overwritten(settings, kept):
    folder = keys_folder(settings)
    folder.mkdir(parents=True)
    (folder / kept).write_text("precious")
    with pytest.raises(KeysError, match=f"{kept} exists"):
        OperatorKeys.generate(ORIGIN).save(settings)
    assert texts(folder) == {kept: b"precious"}


def test_keys_that_were_made_halfway_are_completed_and_those_that_exist_stay(settings):
    first = OperatorKeys.complete(settings)
    folder = keys_folder(settings)
    before = texts(folder)
    (folder / "clock.key").unlink()
    second = OperatorKeys.complete(settings)
    assert (second.log.to_skey(), second.root.kid, second.vault) == (
        first.log.to_skey(),
        first.root.kid,
        first.vault,
    )
    assert second.clock.kid != first.clock.kid
    after = texts(folder)
    assert {name: after[name] for name in NAMES if name != "clock.key"} == {
        name: before[name] for name in NAMES if name != "clock.key"
    }
    assert same(OperatorKeys.complete(settings), second)


def test_the_keys_of_another_log_are_refused(settings, tmp_path):
    OperatorKeys.generate(ORIGIN).save(settings)
    with pytest.raises(KeysError, match=r"signs for 'test.example/log'.*'other.example/log'"):
        OperatorKeys.load(Settings(home=tmp_path / "home", origin="other.example/log"))


@pytest.mark.parametrize("lost", [name for name in NAMES if name != "log-mldsa.key"])
def test_a_missing_key_is_named(settings, lost):
    folder = OperatorKeys.generate(ORIGIN).save(settings)
    (folder / lost).unlink()
    with pytest.raises((KeysError, ConfigError), match=lost):
        OperatorKeys.load(settings)


def test_a_ledger_may_have_been_begun_without_a_post_quantum_key(settings):
    folder = OperatorKeys.generate(ORIGIN).save(settings)
    (folder / "log-mldsa.key").unlink()
    assert OperatorKeys.load(settings).more_log_keys == ()


@pytest.mark.parametrize("spoilt", NAMES)
@pytest.mark.parametrize("text", ["", "not a key", "ә", "AAAA\nAAAA"])
def test_a_spoilt_key_is_refused(settings, spoilt, text):
    folder = OperatorKeys.generate(ORIGIN).save(settings)
    (folder / spoilt).write_text(text)
    with pytest.raises((KeysError, ConfigError)):
        OperatorKeys.load(settings)


def test_a_vault_key_from_the_configuration_is_not_written_to_disk(tmp_path):
    import base64

    given = Settings(home=tmp_path, origin=ORIGIN, vault_key=base64.b64encode(b"v" * 32).decode())
    folder = OperatorKeys.generate(ORIGIN, given.read_vault_key()).save(given)
    assert "vault.key" not in texts(folder)
    assert OperatorKeys.load(given).vault == b"v" * 32


def test_no_secret_is_shown():
    keys = OperatorKeys.generate(ORIGIN)
    shown = repr(keys) + repr(keys.log) + repr(keys.signing())
    for secret in (keys.root.seed(), keys.gateway.seed(), keys.clock.seed(), repr(keys.vault)[2:-1]):
        assert secret not in shown
    assert keys.log.to_skey().rpartition("+")[2] not in shown
