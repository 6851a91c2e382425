"""What a process says of how it rounds, and which hosts are told of as rounding otherwise."""

import os
import subprocess
import sys

from actors.arithmetic import arithmetic_here, cpu_of
from actors.likeness import Likeness
from actors.messages import DRIVER, Hello
from actors.orders import Rounding, Unlike

EPYC = (
    "machine=x86_64\nCPU=vendor_id AuthenticAMD, model 17\nSIMD=AVX2,AVX512F\nBLAS=openblas 0.3 Zen"
)
XEON = "machine=x86_64\nCPU=vendor_id GenuineIntel, model 17\nSIMD=AVX2\nBLAS=openblas 0.3 Haswell"


def hello(name: str, host: str, arithmetic: str) -> Hello:
    return Hello(name, host, 1, arithmetic=arithmetic)


def test_a_process_names_its_cpu_its_blas_and_its_numpy() -> None:
    facts = dict(line.split("=", 1) for line in arithmetic_here().splitlines())
    assert [*facts] == ["machine", "CPU", "SIMD", "BLAS", "NumPy"]
    assert facts["CPU"]
    assert facts["BLAS"]
    assert facts["NumPy"]


def test_two_processes_of_one_host_say_the_same_and_other_kernels_are_seen() -> None:
    program = "from actors.arithmetic import arithmetic_here; print(arithmetic_here())"

    def said(**variables: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **variables},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    assert said() == arithmetic_here()
    # OpenBLAS's own switch; by itself it never chooses so old a kernel on a CPU of today.
    assert said(OPENBLAS_CORETYPE="Prescott") != arithmetic_here()


def test_a_cpu_is_named_from_what_the_kernel_says_of_the_first_one() -> None:
    x86 = (
        "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\n"
        "model name\t: Intel(R) Xeon(R)  CPU\nstepping\t: 7\nflags\t\t: fpu avx2\n\n"
        "processor\t: 1\nvendor_id\t: Other\n"
    )
    assert cpu_of(x86) == (
        "vendor_id GenuineIntel, cpu family 6, model 85, model name Intel(R) Xeon(R) CPU"
    )
    arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"
    assert cpu_of(arm) == "CPU implementer 0x41, CPU part 0xd0c"
    assert cpu_of("") == ""


def test_a_host_that_rounds_otherwise_is_told_once_with_what_differs() -> None:
    likeness = Likeness()
    first = (DRIVER, Rounding("10.0.0.1", EPYC))
    assert likeness.compare(hello("server", "10.0.0.1", EPYC)) == [first]
    assert likeness.compare(hello("worker-0", "10.0.0.1", EPYC)) == []
    differences = (
        "CPU: vendor_id GenuineIntel here, vendor_id AuthenticAMD there",
        "SIMD: none here, AVX512F there",
        "BLAS: openblas 0.3 Haswell here, openblas 0.3 Zen there",
    )
    assert likeness.compare(hello("worker-1", "10.0.0.2", XEON)) == [
        (DRIVER, Unlike("worker-1", "10.0.0.2", "10.0.0.1", differences))
    ]
    assert likeness.compare(hello("worker-1.2", "10.0.0.2", XEON)) == []
    (again,) = likeness.compare(hello("worker-2", "10.0.0.3", XEON))  # each such host is named
    assert isinstance(again[1], Unlike)
    assert again[1].host == "10.0.0.3"


def test_who_says_nothing_of_it_is_not_compared() -> None:
    likeness = Likeness()
    assert likeness.compare(hello("server", "localhost", "")) == []
    assert likeness.compare(hello("worker-0", "localhost", "")) == []
    first = (DRIVER, Rounding("10.0.0.1", EPYC))
    assert likeness.compare(hello("worker-1", "10.0.0.1", EPYC)) == [first]


def test_a_run_that_goes_on_elsewhere_is_compared_with_its_first_host() -> None:
    likeness = Likeness(Rounding("10.0.0.1", EPYC))
    assert likeness.compare(hello("server", "10.9.0.7", EPYC)) == []
    ((_, unlike),) = likeness.compare(hello("worker-0", "10.9.0.8", XEON))
    assert isinstance(unlike, Unlike)
    assert (unlike.host, unlike.other_host) == ("10.9.0.8", "10.0.0.1")


def test_a_fact_that_only_one_side_knows_is_a_difference() -> None:
    likeness = Likeness()
    likeness.compare(hello("server", "a", "BLAS=openblas"))
    ((_, unlike),) = likeness.compare(hello("worker-0", "b", "BLAS=openblas\nNumPy=2"))
    assert isinstance(unlike, Unlike)
    assert unlike.differences == ("NumPy: 2 here, none there",)
