"""`ganbench data`: what is there is verified, what is missing is named."""

from __future__ import annotations

import pytest

from ganbench.cli import main


def test_digits_are_verified(tmp_path, capsys):
    assert main(["data", "digits", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"root: {tmp_path}",
        "digits: 1297 train and 500 test images of 1×28×28, 10 classes, sha256 b36b2c8fb544ad26: verified",
    ]


def test_without_a_network_it_says_what_is_missing(tmp_path, capsys, monkeypatch):
    def refuse(*arguments, **keywords):
        raise OSError("network is unreachable")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert main(["data", "mnist", "--root", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert "train-images-idx3-ubyte" in said and said.count("\n") == 1


@pytest.mark.parametrize("names", [["cifar"], ["digits", "cifar"]], ids=" ".join)
def test_an_unknown_name_comes_with_the_known_ones(names, capsys):
    assert main(["data", *names]) == 2
    said = capsys.readouterr()
    assert said.err == "ganbench: data cifar: no such dataset; choose from digits, fashion_mnist, mnist\n"
    assert said.out == ""
