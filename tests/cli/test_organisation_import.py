"""Thousands of organisations come from one file, all of them or none."""

from __future__ import annotations

import stat

import pytest

from cli.local import LocalService, LocalServiceError
from cli.organisation_file import import_organisations
from ledger.application import InvalidCommandError
from ledger.eds.authority import Authority

HEADER = "slug,kind,level,name_kk,name_ru,region,roles\n"


def test_organisations_of_a_file_are_registered_once_with_their_tokens(short_path, tmp_path):
    ledger = LocalService(short_path, Authority.create("ecdsa"))
    ledger.init()
    listed, made = tmp_path / "bodies.csv", tmp_path / "tokens.csv"
    rows = [f"b{n},institution,district,Мекеме {n},Учреждение {n},59,registrar head\n" for n in range(30)]
    listed.write_text(HEADER + "".join(rows) + rows[0], encoding="utf-8")
    with pytest.raises(LocalServiceError, match=":32: b0 stands in line 2 too"):
        ledger.run("organisation", "import", str(listed))
    listed.write_text(HEADER + "".join(rows), encoding="utf-8")
    # All of them: nothing was recorded of the file with the wrong line.
    assert "30 registered, 0 were there" in ledger.run(
        "organisation", "import", str(listed), "--tokens", str(made)
    )
    assert len(made.read_text().splitlines()) == 31
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert "0 registered, 30 were there" in ledger.run("organisation", "import", str(listed))
    with pytest.raises(LocalServiceError, match="exists"):
        ledger.run("organisation", "import", str(listed), "--tokens", str(made))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("b 1,institution,district,М,У,59,", ":3: 'b 1' is no slug"),
        ("b0,institution,district,М,У,59,", ":3: b0 stands in line 2 too"),
        ("b1,company,district,М,У,59,", ":3: This cannot be recorded"),
        ("b1,institution,district,М,У,59,moderator", ":3: Kind institution cannot have the role moderator"),
        ("b1,institution,district,,У,59,", ":3: name_kk is empty"),
        ("b1,operator,republic,М,У,,", ":3: The operator registers itself"),
    ],
)
def test_a_wrong_line_is_named_before_anything_is_recorded(tmp_path, line, reason):
    listed = tmp_path / "bodies.csv"
    listed.write_text(f"{HEADER}b0,institution,district,М,У,59,head\n{line}\n", encoding="utf-8")
    with pytest.raises(InvalidCommandError, match=f"{reason}.*Nothing was recorded"):
        import_organisations(listed)
