"""Reference banks: what goes in comes out, damaged or foreign files are refused."""

import json
import re
from dataclasses import replace

import pytest
import torch

from lightning_layerscope import HiddenStates, ReferenceBank
from lightning_layerscope.functional.cka import cka_from_grams
from lightning_layerscope.functional.gram import centered_gram, u_center
from lightning_layerscope.functional.jackknife import cka_estimate
from lightning_layerscope.functional.robust import robust_gram
from lightning_layerscope.references.packing import pack, unpack


def random_states(seed=0, *, layers=3, examples=(24, 17), width=40, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    tensors = {f"task{i}": torch.randn(layers, n, width, generator=generator) for i, n in enumerate(examples)}
    # A large offset and an outlier dimension, as in language models.
    for tensor in tensors.values():
        tensor += 50
        tensor[..., 3] *= 20
    return HiddenStates(
        tensors={task: tensor.to(dtype) for task, tensor in tensors.items()},
        layers=tuple(range(1, layers + 1)),
        num_layers=layers,
        clusters={task: f"cluster of {task}" for task in tensors},
        example_ids={task: tuple(f"{task}/{row}" for row in range(len(t[0]))) for task, t in tensors.items()},
        examples_digest="e" * 64,
        tokens_digest="t" * 64,
        model_name="tiny",
    )


def spectrum_states(seed, examples, layers=16):
    generator = torch.Generator().manual_seed(seed)
    scale = torch.arange(1, 257.0) ** -0.5
    x = torch.randn(layers, examples, 256, generator=generator) * scale
    return x, x + 0.5 * torch.randn(layers, examples, 256, generator=generator) * scale


@pytest.mark.parametrize("examples", [4, 5, 33])
def test_packing_gives_the_centred_gram_back(examples):
    k = centered_gram(spectrum_states(0, examples)[0])
    again = unpack(pack(k))
    torch.testing.assert_close(again, k, rtol=0, atol=3e-6 * float(k.abs().max()))
    torch.testing.assert_close(u_center(again), u_center(k), rtol=0, atol=3e-6 * float(k.abs().max()))
    assert pack(k).values.shape[1] == examples * (examples - 1) // 2


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
@pytest.mark.parametrize(
    ("dtype", "examples", "error"), [("float32", 32, 1e-7), ("float16", 32, 4e-5), ("float16", 256, 4e-6)]
)
def test_stored_grams_give_the_same_cka_and_interval(estimator, dtype, examples, error):
    x, y = spectrum_states(1, examples)
    k, other = unpack(pack(centered_gram(x)).to(getattr(torch, dtype))), centered_gram(y)
    exact = cka_estimate(centered_gram(x), other, estimator=estimator)
    found = cka_estimate(k, other, estimator=estimator)
    assert float((found.value - exact.value).abs().max()) < error
    assert float((found.stderr - exact.stderr).abs().max()) < error
    # The rows of what comes back sum to zero: the closed formulas assume it.
    assert float(k.sum(dim=-1).abs().max()) < 1e-5 * float(k.abs().max())


def test_float16_keeps_small_entries_beside_a_huge_one():
    x, y = spectrum_states(2, 64)
    x[:, 0] *= 1000
    y[:, 0] *= 1000
    k = unpack(pack(centered_gram(x)).to(torch.float16))
    inner, inner_y = slice(1, None), centered_gram(y[:, 1:])
    kept = k[:, inner, inner]
    kept = kept - kept.mean(dim=1, keepdim=True) - kept.mean(dim=2, keepdim=True) + kept.mean(dim=(1, 2), keepdim=True)
    exact = cka_from_grams(centered_gram(x[:, 1:]), inner_y)
    assert float((cka_from_grams(kept, inner_y) - exact).abs().max()) < 0.05


def test_a_bank_is_a_mapping_of_grams_with_the_states_identity():
    states = random_states()
    bank = ReferenceBank.from_states(states, name="initial")
    assert list(bank) == list(states)
    assert len(bank) == 2
    assert (bank.kind, bank.name, bank.layers, bank.num_layers) == ("gram", "initial", (1, 2, 3), 3)
    assert bank.clusters == states.clusters
    assert bank.example_ids == states.example_ids
    assert (bank.examples_digest, bank.tokens_digest, bank.model_name) == ("e" * 64, "t" * 64, "tiny")
    k = centered_gram(states["task1"])
    torch.testing.assert_close(bank["task1"], k, rtol=0, atol=1e-6 * float(k.abs().max()))
    torch.testing.assert_close(bank.robust_gram("task1"), robust_gram(states["task1"]), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=re.escape('from_states(..., kind="features")')):
        bank.features("task0")
    with pytest.raises(KeyError, match="no task 'rte' in this reference"):
        bank.gram("rte")


def test_a_bank_of_features_gives_everything():
    states = random_states(dtype=torch.bfloat16)
    bank = ReferenceBank.from_states(states, kind="features")
    assert bank["task0"].dtype == torch.bfloat16
    assert bank.features("task0").data_ptr() == states["task0"].data_ptr()
    torch.testing.assert_close(bank.gram("task0"), centered_gram(states["task0"]))
    torch.testing.assert_close(bank.robust_gram("task0"), robust_gram(states["task0"]))


@pytest.mark.parametrize("kind", ["gram", "features"])
@pytest.mark.parametrize("robust", [True, False])
def test_a_bank_survives_the_disk(tmp_path, kind, robust):
    states = random_states()
    bank = ReferenceBank.from_states(states, kind=kind, name="base", robust=robust)
    assert bank.save(tmp_path / "bank") == tmp_path / "bank"
    again = ReferenceBank.load(tmp_path / "bank")
    assert again.identity == bank.identity
    assert again.digest == bank.digest
    assert again.has_robust is bank.has_robust is (robust or kind == "features")
    for task in states:
        assert torch.equal(again[task], bank[task])
        if again.has_robust:
            assert torch.equal(again.robust_gram(task), bank.robust_gram(task))
    # No leftover of the way there.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank"]
    assert sorted(path.name for path in (tmp_path / "bank").iterdir()) == ["bank.safetensors", "manifest.json"]


def test_float16_halves_the_file_and_keeps_the_digest(tmp_path):
    bank = ReferenceBank.from_states(random_states(examples=(64, 64)), robust=False)
    sizes = {}
    for dtype in ("float32", "float16"):
        bank.save(tmp_path / dtype, dtype=dtype)
        sizes[dtype] = (tmp_path / dtype / "bank.safetensors").stat().st_size
        assert ReferenceBank.load(tmp_path / dtype).digest == bank.digest
    assert sizes["float16"] < 0.56 * sizes["float32"]
    # Pairs of 64 examples in 2 bytes, the diagonal in 4, in 3 layers of 2 tasks: nothing else but a short header.
    assert sizes["float16"] < 6 * (64 * 63 // 2 * 2 + 64 * 4) + 1024


def test_many_examples_go_to_float16_by_default(tmp_path):
    bank = ReferenceBank.from_states({"many": torch.randn(1, 256, 8), "few": torch.randn(1, 255, 8)}, robust=False)
    bank.save(tmp_path / "bank")
    stored, _ = ReferenceBank.load(tmp_path / "bank").parts()
    assert stored["many"].values.dtype == torch.float16
    assert stored["few"].values.dtype == torch.float32


def test_digest_follows_content_examples_and_tasks():
    digests = {ReferenceBank.from_states(random_states(seed)).digest for seed in (0, 1)}
    other_ids = random_states()
    other_ids.example_ids["task0"] = ("x", *other_ids.example_ids["task0"][1:])
    digests |= {
        ReferenceBank.from_states(other_ids).digest,
        ReferenceBank.from_states(random_states()).select(["task0"]).digest,
    }
    assert len(digests) == 4
    assert ReferenceBank.from_states(random_states()).digest in digests


def test_an_existing_bank_is_replaced_only_when_asked(tmp_path):
    first, second = (ReferenceBank.from_states(random_states(seed)) for seed in (0, 1))
    first.save(tmp_path / "bank")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        second.save(tmp_path / "bank")
    assert ReferenceBank.load(tmp_path / "bank").digest == first.digest
    second.save(tmp_path / "bank", overwrite=True)
    assert ReferenceBank.load(tmp_path / "bank").digest == second.digest


def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    random_states().save(tmp_path / "states")
    bank = ReferenceBank.from_states(random_states())
    for folder in (tmp_path, tmp_path / "states"):
        with pytest.raises(FileExistsError, match="holds something else"):
            bank.save(folder, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert HiddenStates.load(tmp_path / "states").examples_digest == "e" * 64


def test_a_failing_save_leaves_what_was_there(tmp_path, monkeypatch):
    bank = ReferenceBank.from_states(random_states())
    bank.save(tmp_path / "bank")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("lightning_layerscope.references.storage.save_file", fail)
    with pytest.raises(OSError, match="no space"):
        bank.save(tmp_path / "bank", overwrite=True)
    assert ReferenceBank.load(tmp_path / "bank").digest == bank.digest
    assert [path.name for path in tmp_path.iterdir()] == ["bank"]


def test_one_changed_byte_is_noticed(tmp_path):
    ReferenceBank.from_states(random_states()).save(tmp_path / "bank")
    file = tmp_path / "bank" / "bank.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"does not match its manifest.*save the bank again"):
        ReferenceBank.load(tmp_path / "bank")


def test_tensors_of_another_bank_are_noticed(tmp_path):
    for seed in (0, 1):
        ReferenceBank.from_states(random_states(seed)).save(tmp_path / str(seed))
    (tmp_path / "0" / "bank.safetensors").replace(tmp_path / "1" / "bank.safetensors")
    with pytest.raises(ValueError, match="does not match its manifest"):
        ReferenceBank.load(tmp_path / "1")
    with pytest.raises(FileNotFoundError, match=r"no bank\.safetensors there"):
        ReferenceBank.load(tmp_path / "0")


def test_an_edited_or_damaged_manifest_is_noticed(tmp_path):
    ReferenceBank.from_states(random_states()).save(tmp_path / "bank")
    file = tmp_path / "bank" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["identity"]["layers"] = [4, 5, 6]
    file.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="was changed after it was written"):
        ReferenceBank.load(tmp_path / "bank")
    file.write_text(file.read_text()[:40])
    with pytest.raises(ValueError, match=r"manifest of the bank .* is damaged"):
        ReferenceBank.load(tmp_path / "bank")
    with pytest.raises(FileNotFoundError, match="expected a reference bank"):
        ReferenceBank.load(tmp_path / "nowhere")


def test_a_manifest_nested_too_deeply_is_noticed(tmp_path):
    bank = ReferenceBank.from_states(random_states())
    bank.save(tmp_path / "bank")
    (tmp_path / "bank" / "manifest.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"the manifest of the bank .* is damaged .*nested too deeply"):
        ReferenceBank.load(tmp_path / "bank")


def test_selected_tasks_keep_order_and_identity():
    bank = ReferenceBank.from_states(random_states())
    some = bank.select(["task1"])
    assert list(some) == ["task1"]
    assert some.identity.partial
    assert torch.equal(some["task1"], bank["task1"])
    assert some.has_robust
    assert bank.select(["task0", "task1"]) is bank
    with pytest.raises(KeyError, match="no task 'x'"):
        bank.select(["x"])


def test_plain_tensors_are_numbered():
    bank = ReferenceBank.from_states({"a": torch.randn(2, 6, 3)})
    assert (bank.layers, bank.num_layers, bank.clusters) == ((1, 2), 2, {"a": "unclustered"})
    assert bank.example_ids == {"a": ("0", "1", "2", "3", "4", "5")}
    assert bank.examples_digest == bank.tokens_digest == bank.model_name == ""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ReferenceBank.from_states({}), "at least one task, got none"),
        (lambda: ReferenceBank.from_states({"a": torch.randn(6, 3)}), r"for task 'a', got \(6, 3\)"),
        (lambda: ReferenceBank.from_states({"a": torch.randn(2, 3, 3)}), "at least 4 examples for task 'a', got 3"),
        (
            lambda: ReferenceBank.from_states({"a": torch.randn(2, 6, 3), "b": torch.randn(3, 6, 3)}),
            r"\(2 layers, examples, width\) for task 'b'",
        ),
        (
            lambda: ReferenceBank.from_states({"a": torch.randn(2, 6, 3)}, kind="grams"),
            'expected kind "gram" or "features"',
        ),
        (
            lambda: ReferenceBank.from_states(ReferenceBank.from_states({"a": torch.randn(2, 6, 3)})),
            "can be used as it is",
        ),
        (lambda: ReferenceBank.from_states({"a": torch.full((2, 6, 3), torch.nan)}), "(?i)finite"),
        (
            lambda: ReferenceBank.from_states({"a": torch.randn(2, 6, 3)}).save("x", dtype="int8"),
            "expected dtype 'float16'",
        ),
        (
            lambda: ReferenceBank.from_states({"a": torch.randn(2, 6, 3)}, kind="features").save("x", dtype="float16"),
            "None or 'float32' for features",
        ),
    ],
)
def test_malformed_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def part_of(states, *tasks):
    return replace(
        states,
        tensors={task: states[task] for task in tasks},
        clusters={task: states.clusters[task] for task in tasks},
        example_ids={task: states.example_ids[task] for task in tasks},
    )


@pytest.mark.parametrize("kind", ["gram", "features"])
def test_banks_of_parts_join_to_the_bank_of_the_whole(kind):
    states = random_states()
    whole = ReferenceBank.from_states(states, kind=kind, name="initial")
    parts = [ReferenceBank.from_states(part_of(states, task), kind=kind, name="initial") for task in ("task1", "task0")]
    joined = ReferenceBank.concat(parts, ["task0", "task1"])
    assert (joined.digest, joined.identity, list(joined)) == (whole.digest, whole.identity, ["task0", "task1"])
    assert list(ReferenceBank.concat(parts)) == ["task1", "task0"]
    for task in whole:
        assert torch.equal(joined[task], whole[task])
        assert torch.equal(joined.robust_gram(task), whole.robust_gram(task))


def test_banks_that_are_no_parts_of_one_do_not_join():
    states = random_states()
    one, two = (ReferenceBank.from_states(part_of(states, task)) for task in states)
    other = ReferenceBank.from_states(part_of(replace(states, model_name="small"), "task1"))
    plain = ReferenceBank.from_states(part_of(states, "task1"), robust=False)
    for banks, tasks, message in (
        ([], None, "at least one reference bank"),
        ([one, one], None, r"each task in one bank, got \['task0'\] in bank 1 again"),
        ([one, other], None, "bank 1 with model_name='small' where the first has 'tiny'"),
        ([one, plain], None, r"one form \(kind, has_robust\)"),
        ([one, two], ["task0"], r"tasks that the banks hold \(\['task0', 'task1'\]\), got \['task0'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            ReferenceBank.concat(banks, tasks)
