"""The checksum: every element counts, whatever the dtype, the place in memory and the size."""

import pytest
import torch

from lightning_layerscope.extraction.checksum import checksum, differing

SEGMENT = 4095 * 8  # bytes that are added up as they lie
DTYPES = [torch.float32, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.int8, torch.bool, torch.complex64]


def value(tensor: torch.Tensor) -> int:
    found = checksum(tensor)
    assert found is not None
    return int(found)


def bytes_of(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.uint8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 3, 8, 1021])
def test_every_byte_counts(dtype: torch.dtype, count: int) -> None:
    tensor = torch.randint(0, 2, (count,)).to(dtype)
    before = value(tensor)
    assert value(tensor.clone()) == before
    for position in range(len(bytes_of(tensor))):
        bytes_of(tensor)[position] ^= 1
        assert value(tensor) != before
        bytes_of(tensor)[position] ^= 1
    assert value(tensor) == before


@pytest.mark.parametrize("start", range(9))
def test_every_byte_counts_around_segments_and_at_odd_places_in_memory(start: int) -> None:
    storage = torch.randint(0, 256, (2 * SEGMENT + 50,), dtype=torch.uint8)
    tensor = storage[start : start + 2 * SEGMENT + 21]
    before = value(tensor)
    ends = [0, 1, 7, 8, SEGMENT - 9, SEGMENT - 1, SEGMENT, SEGMENT + 8, 2 * SEGMENT, len(tensor) - 1]
    for position in ends:
        tensor[position] ^= 128
        assert value(tensor) != before
        tensor[position] ^= 128
    storage[start + len(tensor) :] += 1
    assert value(tensor) == before  # what lies beside it does not count


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_cancels_in_a_plain_sum_is_seen(dtype: torch.dtype) -> None:
    tensor = torch.randn(4 * SEGMENT, generator=torch.Generator().manual_seed(0)).to(dtype)
    tensor[0], tensor[2 * SEGMENT] = 1.0, 2.0
    before = value(tensor)
    assert value(-tensor) != before
    exchanged = tensor.clone()
    exchanged[0], exchanged[2 * SEGMENT] = tensor[2 * SEGMENT].clone(), tensor[0].clone()
    assert value(exchanged) != before
    assert value(tensor + 1e-1) != before
    assert value(torch.zeros_like(tensor)) != value(-torch.zeros_like(tensor))


def test_values_that_are_not_finite_are_told_apart() -> None:
    tensor = torch.full((4,), torch.nan)
    assert value(tensor) == value(tensor.clone())
    assert value(tensor) != value(torch.full((4,), torch.inf))


@pytest.mark.parametrize("memory", ["transposed", "channels last", "with gaps", "expanded", "empty", "scalar"])
def test_any_layout_is_read(memory: str) -> None:
    base = torch.randn(4, 6, 2, 2)
    tensor = {
        "transposed": base[..., 0, 0].t(),
        "channels last": base.to(memory_format=torch.channels_last),
        "with gaps": base[:, ::2],
        "expanded": base[0, 0, 0].expand(3, 2),
        "empty": base[:0],
        "scalar": base[0, 0, 0, 0],
    }[memory]
    before = value(tensor)
    assert value(tensor) == before
    if memory != "empty":
        tensor.data.reshape(-1)
        tensor.select(0, 0).data.add_(1.0) if tensor.ndim else tensor.add_(1.0)
        assert value(tensor) != before


def test_memory_is_not_copied() -> None:
    tensor = torch.zeros(4_000_000)
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        checksum(tensor)
    taken = max(event.cpu_memory_usage for event in profile.key_averages())
    assert taken < tensor.nbytes / 100


@pytest.mark.parametrize("device", ["meta", "sparse"])
def test_what_has_no_bits_has_no_checksum(device: str) -> None:
    tensor = torch.zeros(3, device="meta") if device == "meta" else torch.eye(3).to_sparse()
    assert checksum(tensor) is None


def test_lists_are_compared_by_position() -> None:
    one, two = torch.ones(3), torch.zeros(3)
    before = [checksum(one), None, checksum(two), None, checksum(one)]
    after = [checksum(one), None, checksum(one), checksum(one), None]
    assert differing(before, before) == set()
    assert differing(before, after) == {2, 3, 4}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_turned_signs_are_seen_whatever_the_values(dtype: torch.dtype) -> None:
    """Sums with weights in arithmetic progression lose these: w1 - w2 - w3 + w4 is nothing."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        tensor = torch.randn(4, generator=generator).to(dtype)
        assert value(-tensor) != value(tensor)
        assert value(tensor.flip(0).repeat(4)) != value(tensor.repeat(4))
