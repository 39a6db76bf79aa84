"""One of three gloo processes, started by ``test_distributed.py``: updates every metric with its share of the examples.

Usage: rank_process.py RANK RENDEZVOUS_FILE LAYOUTS_JSON OUTPUT_JSON; a layout is a list of shares, one per process (the
first two or all three), and a share is a list of positions.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from torchmetrics import Metric, MetricCollection

sys.path.insert(0, str(Path(__file__).parent))
from metric_cases import CASES

PROCESSES = 3


def main() -> None:
    # A rank without data is what is tested; torchmetrics reminds of it.
    warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
    rank = int(sys.argv[1])
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=PROCESSES)
    torch.set_num_threads(1)
    pair = dist.new_group([0, 1])
    out = {}
    for name, shares in json.loads(sys.argv[3]).items():
        if rank < len(shares):
            out[name] = values(rank, shares, pair if len(shares) == 2 else None)
    Path(sys.argv[4]).write_text(json.dumps(out))
    dist.barrier()
    dist.destroy_process_group()


def values(rank: int, shares: list[list[int]], group: dist.ProcessGroup | None) -> dict[str, list[float]]:
    share = torch.tensor(shares[rank], dtype=torch.long)
    earlier = {position for other in shares[:rank] for position in other}
    once = torch.tensor([p for p in dict.fromkeys(shares[rank]) if p not in earlier], dtype=torch.long)
    out = {}
    for name, case in CASES.items():
        metric: Metric = case.make()
        metric.process_group = group
        # Repetitions would be refused by the sums, which cannot drop them: they get every example once.
        mine = once if name.startswith("Streaming") else share
        # A value in between, then more data on some ranks only, in a module that was cast meanwhile.
        first, rest = mine[: len(mine) // 2], mine[len(mine) // 2 :]
        for part in first.split(7) if len(first) else ():
            metric.update(**case.rows(part))
        metric.compute()
        metric.to(torch.bfloat16)
        if len(rest):
            metric.update(**case.rows(rest))
        out[name] = metric.compute().tolist()
    paired = {name: case for name, case in CASES.items() if case.arguments == ("x", "y") and case.layered}
    collection = MetricCollection({name: case.make() for name, case in paired.items()})
    for metric in collection.values(copy_state=False):
        metric.process_group = group
    for part in share.split(9) if len(share) else ():
        collection.update(**paired["LinearCKA"].rows(part))
    return out | {f"{name} in a collection": value.tolist() for name, value in collection.compute().items()}


if __name__ == "__main__":
    main()
