"""The page: self-contained, escaped, and shown by a real browser where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
import synthetic_runs as synthetic

from ganbench.report.bundle import render
from ganbench.report.comparison import Options, compare
from ganbench.report.html import to_html

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Outline(HTMLParser):
    """Tags with their attributes, and whether every one that opens also closes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("outputs")
    for seed in range(3):
        for loss in ("bce", "hinge"):
            folder = synthetic.completed(root, loss=loss, seed=seed)
            synthetic.history(folder, rows=50, seed=seed)
            synthetic.samples(folder, seed)
    synthetic.completed(root, loss="lsgan", loss__critic_norm=EVIL)
    synthetic.failed(root, "failed", EVIL)
    (synthetic.completed(root, loss="wgan_gp") / "run.json").write_text("{")
    return render(compare(Options(roots=[root], published=True)), "html")


def test_page_is_whole_and_safe(page: str) -> None:
    outline = Outline(page)
    assert outline.open == []
    tags = [tag for tag, _ in outline.tags]
    assert "script" not in tags
    for tag, attributes in outline.tags:
        assert not [name for name in attributes if name.startswith("on")]
        source = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
        assert source is None or source.startswith("data:")
    assert "default-src 'none'" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not re.search(r"url\(|@import", page)


def test_page_has_all_its_parts(page: str) -> None:
    for text in (
        "Which GAN recipe is better on mnist?",
        "Verdicts on FID",
        "Not counted in table 1",
        "Skipped: 1 that could not be used",
        "Not computed here: Lucic",
        "loss.optimizer.lr",
        "extractor_sha256",
    ):
        assert text in page
    assert page.count("data:image/png;base64,") == 9
    assert page.count("<details>") == 8  # seven completed runs and a failed one
    assert len(page) < 3_000_000


def test_a_page_of_many_runs_stays_small(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganbench.report.html.MAX_RUNS", 2)
    for seed in range(4):
        synthetic.completed(root, seed=seed, training=False)
    page = to_html(compare(Options(roots=[root])), [])
    assert page.count("<details>") == 2
    assert "2 more runs are in runs.csv" in page


@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
def test_browser_shows_the_page_without_errors(page: str, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    done = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,1600", "--hide-scrollbars",
            f"--screenshot={tmp_path / 'shot.png'}", (tmp_path / "report.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    with Image.open(tmp_path / "shot.png") as shot:
        grey = shot.convert("L")
        dark = sum(grey.histogram()[:128]) / (grey.width * grey.height)
    assert 0.005 < dark < 0.5  # text and bars on white


def test_a_diagnosis_is_shown_with_its_evidence(root: Path) -> None:
    path = synthetic.completed(root) / "run.json"
    entry = {"name": "collapse", "step": 1050, "evidence": {"diversity": 0.02}, "fix": "loss.g_lr=2e-4"}
    odd = [{"name": EVIL, "step": EVIL, "evidence": {EVIL: EVIL}, "fix": EVIL}, {"evidence": 3}, 7]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"diagnosis": [entry, *odd]}))
    page = render(compare(Options(roots=[root])), "html")
    assert "since step 1050: diversity 0.02; try loss.g_lr=2e-4" in page
    assert "<script" not in page and EVIL not in page
