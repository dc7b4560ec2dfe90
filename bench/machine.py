"""What machine this is, and what one process has used: from /proc alone."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Used:
    """CPU seconds so far, and resident megabytes now."""

    cpu_seconds: float
    rss_mb: float


def used_by(pid: int) -> Used:
    """Read what a process, all its threads together, has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    rss = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return Used((int(fields[11]) + int(fields[12])) / TICKS, int(rss) / 1024)


def described() -> dict[str, str]:
    """Say what machine this is, and how busy it is with something else."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "memory": f"{memory} MB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load before the run": f"{os.getloadavg()[0]:.2f}",
    }
