from collections import Counter

import pytest

from lightning_layerscope.tasks import FLAN_CLUSTERS, Example, load_flan, load_tasks

datasets = pytest.importorskip("datasets", reason="needs the datasets library")


def flan(names, split="test"):
    rows = {
        "inputs": [f"Question {i}?" for i in range(len(names))],
        "targets": ["yes"] * len(names),
        "task": list(names),
    }
    return datasets.DatasetDict({split: datasets.Dataset.from_dict(rows), "train": datasets.Dataset.from_dict(rows)})


def test_table_has_the_papers_numbers():
    assert len(FLAN_CLUSTERS) == 69
    assert Counter(FLAN_CLUSTERS.values()) == {
        "natural_language_inference": 10,
        "commonsense": 4,
        "sentiment": 4,
        "paraphrase": 4,
        "closed_book_qa": 4,
        "struct_to_text": 4,
        "reading_comprehension": 6,
        "reading_comprehension_with_commonsense": 2,
        "coreference": 3,
        "summarization": 11,
        "translation": 8,
        "miscellaneous": 9,
    }


@pytest.mark.parametrize(
    ("task", "cluster"),
    [
        ("wmt16_translate_deen", "translation"),
        ("para_crawl_enes", "translation"),
        ("anli_r3", "natural_language_inference"),
        ("bool_q", "reading_comprehension"),
        ("wiki_lingua_english_en", "summarization"),
        ("true_case", "miscellaneous"),
    ],
)
def test_table_names(task, cluster):
    assert FLAN_CLUSTERS[task] == cluster


def test_every_configuration_loads():
    tasks = load_flan(flan(FLAN_CLUSTERS))
    assert tasks.clusters == FLAN_CLUSTERS


def test_rows_and_names_of_files_with_templates():
    tasks = load_flan(flan(["rte_10templates", "sst2", "rte_10templates"]), splits=["test"])
    assert tasks.clusters == {"rte": "natural_language_inference", "sst2": "sentiment"}
    assert tasks["rte"].splits == {
        "test": (Example("", "Question 0?", "yes", "rte/test/0"), Example("", "Question 2?", "yes", "rte/test/2"))
    }


def test_unknown_names_are_listed_and_can_be_given():
    source = flan(["rte", "my_task", "gsm8k"])
    with pytest.raises(
        ValueError, match=r"has 2 task\(s\) that the table of Flan 2021 does not name: \['gsm8k', 'my_task'\]"
    ):
        load_flan(source)
    tasks = load_flan(source, clusters={"my_task": "mine", "gsm8k": "math", "rte": "entailment"})
    assert tasks.clusters == {"rte": "entailment", "my_task": "mine", "gsm8k": "math"}


def test_by_its_short_name(monkeypatch):
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *args: asked.append(args) or flan(["cola"]))
    assert load_tasks("flan", splits=["test"]).clusters == {"cola": "miscellaneous"}
    assert asked == [("Muennighoff/flan", None)]


def test_limit(tmp_path):
    flan(["rte"] * 50 + ["sst2"] * 3).save_to_disk(tmp_path / "flan")
    tasks = load_flan(tmp_path / "flan", limit=5)
    assert {name: len(task.split("test")) for name, task in tasks.items()} == {"rte": 5, "sst2": 3}
