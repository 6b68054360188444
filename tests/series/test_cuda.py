"""The command for a GPU, rehearsed on a processor; the runner's own part in it is a stand-in."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from common.config import ROOT, InputError
from common.standin import NAME
from series import cuda
from series.contenders import LAST_STEP


def recorded_series(arguments: list[str], folder: Path) -> float:
    """In place of a chain: the recorded runs, or those of the last step alone."""
    stage = LAST_STEP if "--stages" in arguments else ""
    shutil.copytree(ROOT / "outputs/metrics" / stage, folder / "metrics" / stage)
    shutil.copy(ROOT / f"outputs/{LAST_STEP}.ipynb", folder)
    return float(len(arguments))


def test_a_rehearsal_measures_all_that_a_processor_has(tmp_path):
    path = cuda.run(NAME, tmp_path, "cpu", smoke=True, series=recorded_series)
    assert path == tmp_path / "scratch/benchmark-rendered-cpu-smoke/benchmark.json"
    record = json.loads(path.read_text())
    assert record["device"] == "cpu" and record["dataset"] == NAME
    assert record["again"]["same"] and record["again"]["seconds_an_epoch"] > 0
    assert record["apart"]["apart"] == 0 < record["apart"]["moved"]
    assert record["step"] == {"kernels": 0, "launches": 0, "busy": None, "graph": False, "waits": None}
    assert (record["chain"]["seconds"], record["seeds"]["seconds"]) == (7, 10)
    assert record["chain"]["runs"] > record["seeds"]["runs"] == record["seeds"]["of"] >= record["seeds"]["holding"]
    assert (path.parent / f"{LAST_STEP}.ipynb").exists() and (path.parent / "metrics" / LAST_STEP).exists()


def test_a_series_that_fails_stops_the_measuring(tmp_path, capfd):
    with pytest.raises(InputError, match="a chain of the benchmark failed, for the reason above"):
        cuda.run_series(["--stages", "0"], tmp_path)
    assert "argument --stages: invalid choice" in capfd.readouterr().err


def test_shares_are_of_kernels_and_of_the_time_between_the_first_and_the_last():
    events = [
        {"cat": cat, "name": name, "ts": ts, "dur": dur}
        for cat, name, ts, dur in (
            ("kernel", "conv", 10, 30),
            ("gpu_memset", "Memset", 50, 10),
            ("kernel", "pool", 80, 10),
            ("cuda_runtime", "cudaGraphLaunch", 0, 5),
            ("cuda_driver", "cuLaunchKernel", 0, 5),
            ("cuda_runtime", "cudaMalloc", 0, 5),
            ("cpu_op", "aten::conv2d", 0, 500),
        )
    ]
    assert cuda.shares([{"name": "no category"}, *events], 2) == {"kernels": 1.5, "launches": 1, "busy": 50 / 80}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_a_step_on_a_gpu_is_a_graph_and_waits_for_nothing():
    found = cuda.look_into_steps({"device": "cuda", "data": "rendered", "limit": 3000})
    assert found["graph"] and found["waits"] == 0 and found["launches"] < found["kernels"] and found["busy"] > 0
