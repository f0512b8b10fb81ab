"""What the numerics class says of processors and libraries."""

import pytest
import torch

from swimlab.execution import numerics

# Of the x86 and the aarch64 wheels, shortened.
MKL = """PyTorch built with:
  - C++ Version: 202002
  - Intel(R) oneAPI Math Kernel Library Version 2024.2-Product Build 20240605 for Intel(R) 64 architecture applications
  - Intel(R) MKL-DNN v3.12.0 (Git Hash 80afa71049cd69a3df32adcccb623b12cd7baa22)
  - LAPACK is enabled (usually provided by MKL)
  - CPU capability usage: AVX512
  - Build settings: BLAS_INFO=mkl, BUILD_TYPE=Release, LAPACK_INFO=mkl, USE_MKL=ON"""
OPEN = "PyTorch built with:\n  - Build settings: BLAS_INFO=open, LAPACK_INFO=open, USE_MKL=OFF"


def test_libraries_as_torch_reports_them():
    mkl = {"blas": "mkl 2024.2-Product Build 20240605", "lapack": "mkl", "onednn": "3.12.0"}
    assert numerics.math_libraries(MKL) == mkl
    assert numerics.math_libraries(OPEN) == {"blas": "open", "lapack": "open", "onednn": "none"}
    assert numerics.math_libraries("") == {"blas": "none", "lapack": "none", "onednn": "none"}


def test_the_class_names_what_computes(monkeypatch):
    for name in numerics.SWITCHES:
        monkeypatch.delenv(name, raising=False)
    cpu = numerics.numerics_class(device="cpu", dtype="float32", world_size=1)
    assert cpu["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert {"torch", "transformers", "dtype", "world_size", "cpu_model", "blas", "lapack", "onednn"} <= set(cpu)
    assert "switches" not in cpu
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert numerics.numerics_class(device="cpu", dtype="float32", world_size=1) == cpu | {
        "switches": "ONEDNN_MAX_CPU_ISA=AVX2"
    }
    gpu = numerics.numerics_class(device="NVIDIA H100", dtype="bfloat16", world_size=1)
    assert {"cuda", "cudnn"} <= set(gpu)
    assert not any(name.startswith("cpu") for name in gpu)


@pytest.mark.parametrize(
    ("second", "expected"), [({"cpu_model": "A"}, "A"), ({"cpu_model": "B"}, "A + B"), ({}, "A + none")]
)
def test_a_group_on_unlike_machines_is_no_class_of_either(second, expected):
    assert numerics.joined([{"torch": "2", "cpu_model": "A"}, {"torch": "2", **second}]) == {
        "torch": "2",
        "cpu_model": expected,
    }
