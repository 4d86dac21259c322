"""Tests for ganbench.versions."""

from __future__ import annotations

import platform

import torch

from ganbench.versions import PACKAGES, git_state, versions


def test_names_what_is_installed_and_what_is_not(monkeypatch):
    monkeypatch.setattr("ganbench.versions.PACKAGES", (*PACKAGES, "no-such-package"))
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["no-such-package"] == "not installed"


def test_git_state_is_that_of_the_source() -> None:
    state = git_state()
    assert state is None or (len(state["commit"]) == 40 and isinstance(state["dirty"], bool))
