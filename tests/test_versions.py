"""Tests for ganbench.versions."""

from __future__ import annotations

import platform

import torch

from ganbench.versions import PACKAGES, versions


def test_names_what_is_installed_and_what_is_not(monkeypatch):
    monkeypatch.setattr("ganbench.versions.PACKAGES", (*PACKAGES, "no-such-package"))
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["no-such-package"] == "not installed"
