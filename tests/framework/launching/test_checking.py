import sys

import pytest

from framework.launching.checking import _meanwhile


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_being_done_is_shown_on_a_terminal_and_gone_after(terminal, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with pytest.raises(ValueError, match="refused"), _meanwhile("checking 4 runs"):
        assert capsys.readouterr().err == ("checking 4 runs" if terminal else "")
        raise ValueError("refused")
    assert capsys.readouterr().err == ("\r\033[K" if terminal else "")
