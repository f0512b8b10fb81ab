"""A column is declared once and is in every rendering."""

from swimlab import Ablation, Arm, Metric
from swimlab.report import ablation_page, cells, html, latex, markdown, terminal
from swimlab.report.summarise import summarise
from synthetic_results import committed


def test_a_column_that_is_added_is_in_every_rendering(tmp_path, monkeypatch):
    fastest = cells.TrailingColumn("fastest", lambda table, row: f"{min(t.wall_s for t in row.trials):.0f} sec")
    columns = (*cells.TRAILING_COLUMNS, fastest)
    for module in (latex, markdown, terminal):
        monkeypatch.setattr(module, "TRAILING_COLUMNS", columns)
    monkeypatch.setitem(html._environment().globals, "trailing_columns", columns)
    ablation = Ablation("nano", arms=[Arm("a")], seeds=(0, 1), metrics=[Metric("attention.ap")], recipe="tiny-smoke")
    results = committed(ablation, tmp_path, lambda arm, seed: {"attention.ap": 0.5 + seed / 10})
    table = summarise(results)
    pages = ablation_page.write(results, table)
    pages["terminal"] = terminal.render_terminal(table)
    for name in ("index.html", "report.md", "report.tex", "terminal"):
        assert "fastest" in pages[name], name
        assert "46 sec" in pages[name], name
        assert "12,050, MFU 37" in pages[name], name  # the mean of its seeds
        # The others are where they were, before it.
        assert pages[name].index("cost") < pages[name].index("fastest"), name
