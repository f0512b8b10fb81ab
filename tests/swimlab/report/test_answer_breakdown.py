"""Scores by the size of the object, by look and by leak, from planted rows."""

from swimlab.report.answer_breakdown import Answers, breakdowns

TURNS = [(f"r{n}", 0) for n in range(8)]
VIDEOS = {turn: f"v{n // 2}" for n, turn in enumerate(TURNS)}


def rows(**metrics):
    """Values of the eight turns, None for a turn that has none."""
    return {
        f"bench_d.{name}": {turn: float(v) for turn, v in zip(TURNS, values, strict=True) if v is not None}
        for name, values in metrics.items()
    }


SWIM = rows(
    avg=[5, 3, 4, 4, 1, 0, 5, 2],
    cells=[1, 2, 3, 4, 30, 40, 50, None],
    on_object=[1, 1, 1, 0, 0, 0, 1, None],
    right=[1, 0, 1, 1, 0, 0, 1, 0],
    leak=[0, 0, 0.1, 0.25, 0.3, 0.5, 0.9, 1],
)
SERVED = rows(avg=[1] * 8, leak=[0] * 8)


def grids(*, digits=2, **arms):
    shown = breakdowns(Answers("bench_d.avg", {arm: [of_arm] for arm, of_arm in arms.items()}, VIDEOS, digits))
    return {heading: (heads, cells) for heading, heads, cells in shown}


def test_each_breakdown_counts_its_answers():
    shown = grids(swim=SWIM)
    assert list(shown) == [
        "bench_d.avg by the size of the object: mean (answers)",
        "Attention × answer: does the question's noun look at its object?",
        "bench_d.avg by how much of the reference the question tells: mean (answers)",
    ]
    by_size, by_look, by_leak = (cells for _, cells in shown.values())
    assert by_size == [["swim", "4.00 (3)", "2.50 (2)", "2.50 (2)"]]
    assert by_look[0][:7] == ["swim", "3", "1", "1", "2", "75.0", "33.3"]
    assert by_look[0][7].startswith("+41.7 [")
    assert by_leak == [["swim", "4.00 (2)", "4.00 (2)", "0.50 (2)", "3.50 (2)"]]


def test_a_served_model_is_broken_down_by_the_sizes_of_others_and_does_not_tell_where_it_looks():
    shown = grids(swim=SWIM, served=SERVED)
    by_size, by_look, by_leak = (cells for _, cells in shown.values())
    assert by_size[1] == ["served", "1.00 (3)", "1.00 (2)", "1.00 (2)"]
    assert by_leak[1] == ["served", *["1.00 (2)"] * 4]  # its questions told nothing: the same rows stand in a column
    assert [row[0] for row in by_look] == ["swim"]
    assert not grids(served=rows(avg=[1] * 8))


def test_where_a_model_never_looks_there_is_no_difference():
    blind = SWIM | rows(on_object=[0] * 8)
    (row,) = grids(swim=blind)["Attention × answer: does the question's noun look at its object?"][1]
    assert row[1:] == ["0", "0", "4", "4", "–", "50.0", "–"]
