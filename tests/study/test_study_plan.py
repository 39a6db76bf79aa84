"""A plan is validated before anything starts, and every error names its line."""

from pathlib import Path

import pytest

from lightning_layerscope.study.plan import PlanError, StudyPlan

MINIMAL = "model: some/hub-model\ntasks: toy\n"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return path


def test_defaults_are_the_papers_recipe(tmp_path: Path) -> None:
    plan = StudyPlan.from_yaml(write(tmp_path, MINIMAL))
    recipe = plan.training
    assert (recipe.method, recipe.target_modules, recipe.rank, recipe.alpha, recipe.dropout) == (
        "lora",
        ["q_proj", "v_proj"],
        8,
        16,
        0.0,
    )
    assert (recipe.learning_rate, recipe.epochs, recipe.batch_size, recipe.accumulate) == (5e-5, 3, 4, 4)
    assert (recipe.max_length, recipe.max_examples_per_cluster) == (1024, 50_000)
    assert plan.probes.examples_per_task == 512
    assert plan.trains


def test_a_tasks_text_is_its_source_and_paths_are_relative_to_the_plan(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    plan = StudyPlan.from_yaml(write(tmp_path, "model: model\ntasks: toy\nname: mine\n"))
    assert plan.model == str(tmp_path / "model")
    assert plan.tasks.source == "toy"
    assert plan.output_dir == str(tmp_path / "mine")


def test_two_checkpoints_are_three_lines(tmp_path: Path) -> None:
    plan = StudyPlan.from_yaml(write(tmp_path, MINIMAL + "tuned: other/model\n"))
    assert not plan.trains


def test_numbers_without_a_dot_are_numbers(tmp_path: Path) -> None:
    """YAML 1.1 reads 5e-4 as text."""
    plan = StudyPlan.from_yaml(write(tmp_path, MINIMAL + "training: {learning_rate: 5e-4}\n"))
    assert plan.training.learning_rate == 5e-4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            MINIMAL + "training:\n  rank: 4\n  lerning_rate: 1.0e-3\n",
            r"plan.yaml:5: unknown setting 'training.lerning_rate'; did you mean 'learning_rate'\?",
        ),
        (MINIMAL + "training:\n  epochs: 0\n", r"plan.yaml:4: training.epochs: .*greater than 0.*got 0"),
        (
            MINIMAL + "training:\n  control_seeds: [1, 1]\n",
            r"plan.yaml:4: training.control_seeds: the seeds must differ",
        ),
        (MINIMAL + "probes:\n  examples_per_task: 20000\n", r"plan.yaml:4: probes.examples_per_task"),
        (MINIMAL + "estimator: unbiased\n", r"plan.yaml:3: estimator: .*'debiased' or 'biased'"),
        (MINIMAL + "model: again\n", r"plan.yaml:3: the key 'model' stands here a second time"),
        ("tasks: toy\n", r"plan.yaml:1: the setting 'model' is missing"),
        (MINIMAL + "tuned: x\nheld_out: [a]\n", r"'tuned' names a model that exists already, so 'held_out' has no"),
        (MINIMAL + "tuned: x\ntraining: {max_length: 64, rank: 2}\n", r"so 'training.rank' has no meaning"),
        (MINIMAL + "held_out: [a\n", r"plan.yaml:\d: not valid YAML"),
        ("- a\n", r"expected a mapping of settings, got list"),
        ("", r"expected a mapping of settings, got NoneType"),
        (MINIMAL + "ray: &a\n  workers: *a\n", r"plan.yaml:\d: this anchor contains itself; write the values out"),
        (MINIMAL + "probes: &a [*a]\n", r"plan.yaml:3: this anchor contains itself"),
        (MINIMAL + "held_out: " + "[" * 5000 + "]" * 5000, r"nested too deeply to be a plan"),
        (MINIMAL + "? [a, b]\n: 1\n", r"plan.yaml:3: expected a name before the colon"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        StudyPlan.from_yaml(write(tmp_path, text))


def test_all_errors_are_listed_at_once(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        StudyPlan.from_yaml(write(tmp_path, MINIMAL + "estimater: biased\nthreads: -1\n"))
    assert len(str(caught.value).splitlines()) == 2


def test_anchors_that_name_anchors_are_followed_once(tmp_path: Path) -> None:
    """Ten times ten values each: written out they would be more than there is memory for."""
    anchors = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    anchors += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(PlanError) as caught:
        StudyPlan.from_yaml(write(tmp_path, MINIMAL + "\n".join(anchors) + "\nmap_layers: *a11\n"))
    assert "unknown setting 'a0'" in str(caught.value)
    assert len(str(caught.value)) < 10_000


def test_an_anchor_may_be_named_twice(tmp_path: Path) -> None:
    text = "model: &m some/hub-model\ntuned: *m\ntasks: toy\n"
    assert StudyPlan.from_yaml(write(tmp_path, text)).tuned == "some/hub-model"


def test_a_missing_plan_says_so(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot be read"):
        StudyPlan.from_yaml(tmp_path / "absent.yaml")
