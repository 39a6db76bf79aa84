"""W&B's own count of rows belongs to the user: no row that a user logs with ``step=`` is dropped."""

import pytest

from lightning_layerscope.sinks import WandbSink


def measured(kit, steps, **options):
    return kit.make_record(steps, tasks=4, clusters=2, layers=8, **options)


@pytest.mark.parametrize("each_step", [1, 2])
@pytest.mark.parametrize("reference", ["initial", "base"])
def test_rows_of_a_user_who_logs_with_step_are_all_kept(offline_run, kit, each_step, reference):
    run, read = offline_run()
    kit.twenty_steps(WandbSink(run), run, each_step=each_step, reference=reference)
    found = read()
    for part in range(each_step):
        kept = [(row["_step"], row[f"user/{part}"]) for row in found.history if f"user/{part}" in row]
        assert kept == [(step, float(step)) for step in range(22 if part == 0 else 20)]
    assert found.column("layerscope/step") == [0, 5, 10, 15, 19]
    assert found.column("layerscope/cost/seconds") == [0.25] * 5
    assert found.column("layerscope/picture_step") == [0, 5, 10, 15, 19]
    assert [key for row in found.history for key in row if key.endswith("profile/clusters_table/path")]


def test_measurements_without_a_row_of_the_host_in_between_are_all_kept(offline_run, kit):
    """The second would write over the first, which is committed before."""
    run, read = offline_run()
    record = measured(kit, (0, 1, 2, 4, 8))
    kit.replay(WandbSink(run), record)
    found = read()
    assert found.column("layerscope/step") == [0, 1, 2, 4, 8]
    means = [measurement.task_mean[7] for measurement in record.measurements]
    assert found.column("layerscope/cka/layer_08") == pytest.approx(means)


def test_what_the_end_adds_goes_to_a_row_of_its_own_where_the_last_one_was_committed(offline_run, kit):
    run, read = offline_run()
    record = measured(kit, (0, 5))
    growing = type(record)(record.config)
    sink = WandbSink(run)
    sink.start(growing)
    for measurement in record.measurements:
        growing.add(measurement)
        sink.log(measurement, growing, measurement.step)
        run.log({"loss": 1.0})
    sink.finish(growing, "finished")
    found = read()
    assert found.column("layerscope/step") == [0, 5, 5]
    assert [row["_step"] for row in found.history] == [0, 1, 2]
    assert "layerscope/profile/results/path" in found.history[2]
