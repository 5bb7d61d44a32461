"""Proves that what a machine has is read as the system says it, and that what it does not say is None and no number."""

import sys
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch
from packaging.specifiers import SpecifierSet

from solon.errors import ModelError
from solon.pipeline import machine as machine_module
from solon.pipeline.machine import (
    GIB,
    RESERVED,
    TRAINING_BYTES,
    Gpu,
    find_shipped_fault,
    fits_bounds,
    look_at_machine,
    most_parameters,
    read_bfloat16,
    read_extras,
    read_free_memory,
    read_gpus,
    read_memory,
    training_memory,
)

REQUIRES = ['torch>=2.11; extra == "local"', 'transformers<6,>=5.16; extra == "local"', "numpy>=2.0"]


@pytest.fixture
def system(monkeypatch):
    """Stands in for the files of the system: what is not set is not there."""
    files = {}
    monkeypatch.setattr(machine_module, "_read", lambda file: files.get(file, ""))
    return files


def install(monkeypatch, **versions):
    """Stands in for what is installed."""

    def version(package):
        if package not in versions:
            raise metadata.PackageNotFoundError(package)
        return versions[package]

    monkeypatch.setattr(metadata, "requires", lambda distribution: REQUIRES)
    monkeypatch.setattr(metadata, "version", version)


def test_an_extra_that_is_there_is_told_with_its_versions(monkeypatch):
    install(monkeypatch, torch="2.13.0+cpu", transformers="5.23.0")
    (extra,) = read_extras()
    assert (extra.name, extra.has, extra.lacks) == ("local", ("torch 2.13.0+cpu", "transformers 5.23.0"), ())


def test_what_is_missing_or_too_old_is_lacking(monkeypatch):
    install(monkeypatch, transformers="5.9.1")
    (extra,) = read_extras()
    assert extra.has == ()
    assert extra.lacks == ("torch", "transformers <6,>=5.16 (found 5.9.1)")


def test_a_torch_that_cannot_be_imported_is_lacking_with_the_reason(monkeypatch):
    install(monkeypatch, torch="2.13.0", transformers="5.23.0")
    monkeypatch.setitem(sys.modules, "torch", None)
    (extra,) = read_extras()
    (said,) = extra.lacks
    assert said.startswith("torch 2.13.0, which cannot be imported (ModuleNotFoundError: ")


@pytest.mark.parametrize(
    ("version", "bounds", "fits"),
    [
        ("2.11", ">=2.11", True),
        ("2.11.0+cu128", ">=2.11", True),
        ("2.9.1", ">=2.11", False),
        ("2.11", ">=2.11.1", False),
        ("6.0.0rc1", "<6,>=5.16", False),
        ("5.16.0", "<6,>=5.16", True),
        ("0.6.0", "<0.6,>=0.5", False),
        ("1.4", "", True),
        ("1.4", "!=1.4.0", False),
    ],
)
def test_versions_are_compared_by_their_numbers(version, bounds, fits):
    assert fits_bounds(version, SpecifierSet(bounds)) is fits


def test_the_extras_are_those_of_this_distribution():
    assert [extra.name for extra in read_extras()] == metadata.metadata("solon").get_all("Provides-Extra")


@pytest.mark.parametrize(
    ("cpuinfo", "computes"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512_vnni avx512_bf16 arat\n", True),
        ("flags\t\t: fpu amx_bf16\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("flags\t\t: fpu not_bf16_at_all\n", False),
        ("model name\t: one without flags, bf16 in its name\n", None),
        ("", None),
    ],
)
def test_bfloat16_is_told_by_the_flags(system, cpuinfo, computes):
    system["/proc/cpuinfo"] = cpuinfo
    assert read_bfloat16() is computes


def test_memory_is_what_a_container_leaves_of_it(system, monkeypatch):
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert read_memory() == 4096000
    system["/sys/fs/cgroup/memory.max"] = "max\n"
    assert read_memory() == 4096000
    system["/sys/fs/cgroup/memory.max"] = "1000000\n"
    assert read_memory() == 1000000
    system["/sys/fs/cgroup/memory/memory.limit_in_bytes"] = "900000\n"
    assert read_memory() == 900000


def test_memory_that_is_not_told_is_none(system, monkeypatch):
    def refuse(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr("os.sysconf", refuse)
    assert read_memory() is None
    assert read_free_memory() is None


def test_free_memory_is_read_in_bytes(system):
    system["/proc/meminfo"] = "MemTotal:       24683776 kB\nMemFree:         1 kB\nMemAvailable:       2048 kB\n"
    assert read_free_memory() == 2 * 2**20
    system["/sys/fs/cgroup/memory.max"] = "1048576\n"
    assert read_free_memory() == 2**20


def test_gpus_are_those_that_torch_finds(monkeypatch):
    assert read_gpus() == () or torch.cuda.is_available()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    found = [SimpleNamespace(name=f"GPU {index}", total_memory=(index + 1) * GIB) for index in range(2)]
    monkeypatch.setattr("torch.cuda.get_device_properties", found.__getitem__)
    assert read_gpus() == (Gpu("GPU 0", GIB), Gpu("GPU 1", 2 * GIB))


def test_without_torch_nothing_asks_it_and_the_machine_is_not_ready(monkeypatch, tmp_path):
    install(monkeypatch, transformers="5.23.0")
    monkeypatch.setitem(sys.modules, "torch", None)
    found = look_at_machine(tmp_path)
    assert (found.gpus, found.has_local, found.is_ready, found.shipped_fault) == ((), False, False, "")
    assert found.free_disk > 0


def test_a_missing_nano_model_is_said_and_not_ready(monkeypatch, tmp_path):
    def refuse(name):
        raise ModelError("data/nano: the nano model is not there: build one")

    assert find_shipped_fault() == ""
    assert look_at_machine(tmp_path).is_ready
    monkeypatch.setattr(machine_module, "find_shipped_model", refuse)
    found = look_at_machine(tmp_path)
    assert (found.shipped_fault, found.has_local, found.is_ready) == (
        "data/nano: the nano model is not there: build one",
        True,
        False,
    )


def test_memory_and_parameters_are_turned_into_each_other():
    for each in TRAINING_BYTES.values():
        assert most_parameters(training_memory(10**9, each), each) == 10**9
    assert most_parameters(RESERVED - 1, 16) == 0
    assert most_parameters(2 * RESERVED, 16) == RESERVED // 16
