"""Proves that time is counted over this process and its children, from the meter's start."""

import subprocess
import sys
import time

from solon.pipeline.usage import Meter, Usage, read_usage


def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_processor_time_of_children_is_counted():
    meter = Meter()
    code = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    used = meter.read()
    assert used.cpu_seconds >= 0.25
    assert used.seconds >= 0.25


def test_what_was_used_before_counts_only_if_asked_for():
    burn(0.1)
    assert Meter().read().cpu_seconds < 0.05
    assert Meter(whole_process=True).read().cpu_seconds > 0.1


def test_peak_memory_is_in_mebibytes_and_never_falls():
    before = read_usage().peak_rss_mb
    size = int(before) + 64
    block = bytearray(size * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    held = read_usage().peak_rss_mb
    assert size < held < size + before + 1
    del block
    assert read_usage().peak_rss_mb >= held


def test_usage_adds_times_and_keeps_the_larger_peak():
    assert Usage(1, 2, 3).plus(Usage(10, 20, 2)) == Usage(11, 22, 3)
