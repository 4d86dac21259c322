"""Figures: all there, readable with few and many recipes, and never drawn from a number that is none."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic_runs as synthetic
from matplotlib.figure import Figure
from matplotlib.text import Text

from ganbench.report import figures, run_plots
from ganbench.report.comparison import Options, compare
from ganbench.report.figures import bars, classes, draw_all, kid, losses, quality, radar, samples, style
from ganbench.report.table import Table
from ganbench.runs import read_run

ALL = ["scores", "kid", "classes", "quality", "radar", "time", "losses", "samples", "fixed_z"]


def table_of(root: Path, **options: Any) -> Table:
    return compare(Options(roots=[root], **options)).tables[0]


def many(root: Path, recipes: int, seeds: int = 1) -> Table:
    combinations = itertools.product(("cgan", "mlp", "dcgan"), (1e-4, 2e-4), synthetic.FID)
    for model, rate, loss in itertools.islice(combinations, recipes):
        for seed in range(seeds):
            folder = synthetic.completed(root, model, loss, seed, loss__optimizer__lr=rate)
            synthetic.history(folder, rows=60, seed=seed)
            synthetic.samples(folder, seed)
    return table_of(root)


@pytest.fixture(scope="module", params=[6, 36])
def crowd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Table:
    return many(tmp_path_factory.mktemp("outputs"), request.param)


def test_figures_are_reproducible(root: Path) -> None:
    table = many(root, 2)
    with style.house_style():
        first, second = (figures._draw(table, 1, "kid", ("svg", "pdf")) for _ in range(2))
    assert first is not None and second is not None
    assert first.files == second.files


@pytest.mark.parametrize("recipes", [1, 2, 6])
def test_headlines_lie_on_the_page_and_above_the_panels(root: Path, recipes: int) -> None:
    table = many(root, recipes)
    drawn = 0
    with style.house_style():
        for draw in (losses.losses, radar.radar, samples.samples, classes.classes, kid.kid, bars.scores):
            figure = draw(table)
            if figure is None:
                continue
            drawn += 1
            figure.draw_without_rendering()
            renderer = figure._get_renderer()  # type: ignore[attr-defined]
            title = figure._suptitle.get_window_extent(renderer)  # type: ignore[attr-defined]
            assert figure.bbox.x0 <= title.x0 and title.x1 <= figure.bbox.x1, draw
            assert title.y1 <= figure.bbox.y1, draw
            highest = max(axes.get_tightbbox(renderer).y1 for axes in figure.axes)
            assert title.y0 >= highest, draw
    assert drawn >= 4


def test_labels_do_not_overlap(crowd: Table) -> None:
    with style.house_style():
        for draw in (bars.scores, bars.time, kid.kid, classes.classes):
            figure = draw(crowd)
            assert figure is not None
            figure.draw_without_rendering()
            renderer = figure._get_renderer()  # type: ignore[attr-defined]
            page = figure.bbox
            for axes in figure.axes:
                boxes = [
                    label.get_window_extent(renderer) for label in axes.get_yticklabels() if label.get_text()
                ]
                boxes = sorted(boxes, key=lambda box: box.y0)
                assert all(a.y1 <= b.y0 + 1 for a, b in itertools.pairwise(boxes))
                assert all(box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1 for box in boxes)


def test_panel_titles_do_not_overlap(crowd: Table) -> None:
    with style.house_style():
        few = len(crowd.rows) < 10  # drawing 36 of each takes long and shows nothing new
        for draw in (losses.losses, quality.quality, *((radar.radar, samples.samples) if few else ())):
            figure = draw(crowd)
            assert figure is not None
            figure.draw_without_rendering()
            renderer = figure._get_renderer()  # type: ignore[attr-defined]
            titles = [axes.title for axes in figure.axes if axes.title.get_text()]
            boxes = [title.get_window_extent(renderer) for title in titles]
            if figure._suptitle is not None:  # type: ignore[attr-defined]
                boxes.append(figure._suptitle.get_window_extent(renderer))  # type: ignore[attr-defined]
            assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_more_recipes_than_fit_say_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "MAX_ROWS", 2)
    table = many(root, 4)
    assert len(style.drawn_rows(table)) == 2
    assert "first 2 of 4 recipes" in style.headline(table, "Scores")


def test_a_headline_counts_the_seeds_that_have_scores(root: Path) -> None:
    synthetic.failed(root, "failed", "killed", loss="bce")
    assert style.headline(table_of(root), "Losses", scored=False).endswith(" · no scores")
    synthetic.completed(root, loss="lsgan", seed=0)
    assert style.headline(table_of(root), "Losses", scored=False).endswith(" · n = 1 seed")
    synthetic.completed(root, loss="lsgan", seed=1)
    synthetic.completed(root, loss="hinge", seed=0)
    assert style.headline(table_of(root), "Losses", scored=False).endswith(" · n = 1 to 2 seeds")


def test_every_seed_is_a_dot(root: Path) -> None:
    for seed in range(4):
        synthetic.completed(root, seed=seed, fid=10.0 + seed)
    figure = bars.scores(table_of(root))
    assert figure is not None
    (dots,) = figure.axes[0].lines
    assert sorted(np.asarray(dots.get_xdata()).tolist()) == [10.0, 11.0, 12.0, 13.0]


def test_nan_is_drawn_as_nothing(root: Path) -> None:
    synthetic.completed(root, loss="bce", fid=10.0)
    synthetic.completed(root, loss="hinge", fid=float("nan"), training=False)
    figure = bars.scores(table_of(root))
    assert figure is not None
    assert [patch.get_width() for patch in figure.axes[0].patches] == [10.0]
    assert [text.get_text() for text in figure.axes[0].texts] == ["–"]


def test_radar_leaves_a_gap_for_what_was_not_measured(root: Path) -> None:
    synthetic.completed(root, "cgan", fid=10.0)
    synthetic.completed(root, "mlp", fid=20.0)
    table = table_of(root)
    values = {row.label: radar._scaled(row, table) for row in table.rows}
    assert "consistency" not in values["mlp"] and "consistency" in values["cgan"]
    assert values["mlp"]["quality"] == pytest.approx(0.5)
    figure = radar.radar(table)
    assert figure is not None
    line = np.asarray(figure.axes[1].lines[1].get_ydata())
    assert np.isnan(line).sum() == 1


def ticks(figure: Figure) -> list[Text]:
    figure.canvas.draw()
    return figure.axes[-1].get_yticklabels()


def test_losses_of_other_scale_get_their_own_axis(root: Path) -> None:
    folder = synthetic.completed(root)
    synthetic.history(folder)
    plain = losses.losses(table_of(root))
    text = (folder / "history.csv").read_text().splitlines()
    rows = [line.split(",") for line in text[1:]]
    large = [",".join([*row[:4], str(100 * float(row[4])), *row[5:]]) for row in rows]
    (folder / "history.csv").write_text("\n".join([text[0], *large]) + "\n")
    scaled = losses.losses(table_of(root))
    assert plain is not None and scaled is not None
    assert (len(plain.axes), len(scaled.axes)) == (1, 2)
    assert not any("k" in tick.get_text() for tick in ticks(scaled))
    huge = [",".join([*row[:4], str(1e5 * float(row[4])), *row[5:]]) for row in rows]
    (folder / "history.csv").write_text("\n".join([text[0], *huge]) + "\n")
    run_away = losses.losses(table_of(root))
    assert run_away is not None and any("k" in tick.get_text() for tick in ticks(run_away))
    assert max(len(tick.get_text()) for tick in ticks(run_away)) <= 6, "what the margin has room for"


def test_a_diverged_recipe_shows_its_losses(root: Path) -> None:
    synthetic.completed(root, loss="bce")
    synthetic.history(synthetic.failed(root, "diverged", "nan", loss="hinge"))
    figure = losses.losses(table_of(root))
    assert figure is not None
    assert figure.axes[0].get_title() == "hinge (1 diverged)"


def test_smoothing_keeps_a_constant_and_skips_nan() -> None:
    values = np.full(100, 3.0)
    values[50] = np.nan
    assert np.allclose(losses.smooth(values), 3.0)
    assert np.isnan(losses.smooth(np.full(10, np.nan))).all()


def test_labels_are_cut_no_more_than_lets_them_differ() -> None:
    long = ["mlp / bce / minibatch_std=" + value + " / pack=2 / unroll=2" for value in ("true", "false")]
    assert len({style.safe(text) for text in long}) == 1
    assert len(set(style.distinct(long))) == 2
    assert style.distinct(["a" * 40, "b"]) == [style.safe("a" * 40), "b"]


def test_titles_of_panels_differ_where_recipes_do() -> None:
    long = ["lab/vanishing_gradients / " + loss + " / n_critic=5" for loss in ("bce", "minimax")]
    figure, axes = style.panels(long, 1.8, 1.8)
    titles = [panel.get_title() for panel in axes]
    assert [title.replace("\n", " ") for title in titles] == long
    one_line, _ = style.panels(["bce", "minimax"], 1.8, 1.8)
    assert figure.get_figheight() == pytest.approx(one_line.get_figheight() + style.TITLE_INCHES)


def test_panels_without_titles_have_the_margins_of_one_line() -> None:
    named, _ = style.panels(["bce", "hinge"], 1.8, 1.8)
    nameless, _ = style.panels(["", ""], 1.8, 1.8)
    assert nameless.get_figheight() == named.get_figheight()
    assert nameless.subplotpars.top == named.subplotpars.top


def test_they_are_listed_without_matplotlib() -> None:
    code = "import sys, ganbench.report.figures; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_few_rows_are_not_smoothed() -> None:
    values = np.array([0.0, 1.0, 0.0, 5.0])
    assert np.array_equal(losses.smooth(values), values)
    assert losses.smooth(np.repeat([0.0, 1.0], 50))[48] == pytest.approx(1 / 5)


def test_a_single_row_is_a_point(root: Path) -> None:
    synthetic.history(synthetic.completed(root), rows=1)
    figure = losses.losses(table_of(root))
    assert figure is not None
    drawn = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "o"]
    assert len(drawn) == 2 and all(len(line.get_xdata()) == 1 for line in drawn)


@pytest.mark.usefixtures("real_pictures")
def test_a_single_row_of_a_run_is_a_point(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(run_plots, "to_png", drawn.append)
    for rows in (1, 2):
        folder = synthetic.completed(root, seed=rows)
        synthetic.history(folder, rows=rows)
        run_plots.loss_curves(read_run(folder))
    markers = [{line.get_marker() for line in figure.axes[0].lines} for figure in drawn]
    assert markers == [{"o"}, {"None"}]


def test_band_is_lowest_to_highest_seed(root: Path) -> None:
    for seed, fid in enumerate((10.0, 14.0, 30.0)):
        synthetic.completed(root, seed=seed, fid=fid)
    table = table_of(root)
    protocol = quality._protocol(table)
    assert protocol is not None
    course = quality._course(table.rows[0], protocol)
    assert course is not None
    assert (course.low[-1], course.middle[-1], course.high[-1]) == pytest.approx((10.0, 14.0, 30.0))
    assert course.seconds == pytest.approx([45.6 * part for part in (0.2, 0.4, 0.6, 0.8, 1.0)])


def test_samples_are_of_one_seed_where_possible(root: Path) -> None:
    for loss, seeds in (("bce", (0, 1)), ("hinge", (1, 2)), ("lsgan", (5,))):
        for seed in seeds:
            synthetic.samples(synthetic.completed(root, loss=loss, seed=seed), seed)
    figure = samples.samples(table_of(root))
    assert figure is not None
    titles = {axes.get_title() for axes in figure.axes}
    assert titles == {"bce", "hinge", "lsgan (seed 5)"}


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\x00" * 50])
def test_damaged_pictures_are_left_out(root: Path, content: bytes) -> None:
    folder = synthetic.completed(root)
    synthetic.samples(folder)
    (folder / "samples" / "final.png").write_bytes(content)
    assert samples.samples(table_of(root)) is None


def test_a_picture_that_leads_out_of_the_run_is_not_followed(root: Path, tmp_path: Path) -> None:
    synthetic.samples(tmp_path)
    folder = synthetic.completed(root)
    (folder / "samples").mkdir()
    (folder / "samples" / "final.png").symlink_to(tmp_path / "samples" / "final.png")
    assert samples.samples(table_of(root)) is None


def test_no_name_can_break_a_figure(root: Path) -> None:
    for name in ("$x^2$", "$\\frac{", "$$$", "\\$a$", "a" * 200, "对抗", "%s{}"):
        synthetic.history(synthetic.completed(root, loss=name), rows=20)
    drawings = draw_all(compare(Options(roots=[root])), ("png",))
    assert [drawing.name for drawing in drawings] == ALL[:-2]


def test_runs_without_scores_have_no_score_figures(root: Path) -> None:
    synthetic.failed(root, "failed", "no space left")
    assert draw_all(compare(Options(roots=[root])), ("png",)) == []
