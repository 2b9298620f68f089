"""More data: the log several times over, and rows that have no room in memory."""

import json
import os
import pathlib
import resource
import subprocess
import sys

from .program import run


def size(recs, folder, python, times):
    program = (
        "import sys, pyarrow as pa, pyarrow.parquet as pq\n"
        "t = pq.read_table('transactions.parquet'); at = t.schema.get_field_index('household_id')\n"
        "w = pq.ParquetWriter('grown.parquet', t.schema, compression='zstd')\n"
        "for i in range(int(sys.argv[1])):\n"
        "    ids = pa.array(t.column('household_id').to_numpy() + i * 10000)\n"
        "    w.write_table(t.set_column(at, t.schema.field(at), ids))\n"
        "w.close()\n"
    )
    subprocess.run([python, "-c", program, str(times)], cwd=folder, check=True)
    (folder / "grown.parquet").rename(folder / "transactions.parquet")
    stages = (("extract",), ("dataset",), ("vocab",), ("train", "--epochs", "2"), ("evaluate",), ("recommend", "--customer", "1"))
    for stage in stages:
        answer, seconds, peak = run(recs, folder, *stage)
        rows = answer.get("rows", "")
        print(f"size x{times}: {stage[0]:<10} {seconds:8.1f} s   peak of all stages so far {peak:8.0f} MiB   {rows}")


def limited_group(size):
    """A memory cgroup that may hold `size` bytes, page cache included; None where this user may make none."""
    own, folders = pathlib.Path("/proc/self/cgroup"), []
    lines = own.read_text().splitlines() if own.exists() else []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if "memory" in controllers.split(","):
            root = pathlib.Path("/sys/fs/cgroup/memory")
            folders += [(root / path.lstrip("/"), "memory.limit_in_bytes"), (root, "memory.limit_in_bytes")]
        elif controllers == "":
            # Version 2: a group with processes has no groups with limits below it, so a sibling.
            root = pathlib.Path("/sys/fs/cgroup")
            at = root / path.lstrip("/")
            folders += [(at, "memory.max"), (at if at == root else at.parent, "memory.max")]
    for folder, limit in folders:
        group = folder / f"recs-soak-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            # Without the controller this file is not there, and cannot be made.
            (group / limit).write_text(str(size))
            subprocess.run(["true"], check=True, preexec_fn=lambda: join(group))
            return group
        except (OSError, subprocess.SubprocessError):
            group.rmdir()
    return None


def join(group):
    (group / "cgroup.procs").write_text(str(os.getpid()))


def most_held(group):
    """Bytes that the group held at most; None where the kernel does not say."""
    for name in ("memory.max_usage_in_bytes", "memory.peak"):
        if (group / name).exists():
            return int((group / name).read_text())
    return None


def large(program, folder, rows, memory_gib, own_gib):
    group = limited_group(int(memory_gib * 2**30))
    own = int(own_gib * 2**30)
    if group is None:
        print(f"large: this user may make no memory cgroup: NO limit on page cache, RLIMIT_DATA = {own_gib} GiB alone")

    def limits():
        if group is not None:
            join(group)
        resource.setrlimit(resource.RLIMIT_DATA, (own, own))

    command = [program, "--folder", folder, "--rows", str(rows), "--json"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, preexec_fn=limits)
        held = most_held(group) if group is not None else None
    finally:
        if group is not None:
            group.rmdir()
    if done.returncode != 0:
        sys.exit(f"FAILED: {' '.join(map(str, command))} ended with {done.returncode} under its limits")
    result = json.loads(done.stdout)
    for s in result["stages"]:
        print(
            f"large: {s['stage']:<10} {s['seconds']:8.1f} s {s['rows_per_s']:10.0f} rows/s   "
            f"RssAnon {s['rss_anon_mib']:5} MiB   RssFile {s['rss_file_mib']:5} MiB"
        )
        if s["rss_anon_mib"] > own_gib * 1024:
            sys.exit(f"FAILED: {s['stage']} had more than {own_gib} GiB of its own")
    print(
        f"large: {rows} rows, recall@100 {result['recall_at_100']:.3f} (popularity {result['popularity_recall_at_100']:.3f}) on "
        f"{result['test_rows_scored']:.0f} of {result['test_rows']} test rows, {result['examples_per_s']:.0f} examples/s in the steps"
    )
    if held is not None:
        print(f"large: the cgroup of {memory_gib} GiB held {held / 2**20:.0f} MiB at most, page cache included")
