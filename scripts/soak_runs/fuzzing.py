"""Made-up inputs, and the corpus that is left of them."""

import gzip
import io
import pathlib
import re
import subprocess
import sys
import tarfile

from .program import ROOT

# Of an archived corpus, in bytes: longer inputs slow the fuzzer down more than they teach it.
LONGEST_INPUT = 4096
LARGEST_ARCHIVE = 600_000


def unpacked(target, crate, scratch):
    """A folder of its own with the archived corpus of a target; the checked-in one is only read."""
    folder = scratch / f"corpus-{target}"
    folder.mkdir()
    archive = crate / f"fuzz/corpus/{target}.tar.gz"
    if archive.exists():
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                (folder / pathlib.Path(member.name).name).write_bytes(tar.extractfile(member).read())
    return folder


def libfuzzer(target, crate, folders, *options):
    """Runs a target, built when it is not; gives the exit code and what it said."""
    command = ["cargo", "+nightly", "fuzz", "run", target, *map(str, folders), "--", *options]
    done = subprocess.run(command, cwd=crate, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
    return done.returncode, done.stderr


def archived(files):
    """The files as a .tar.gz whose bytes follow from names and contents alone."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0) as raw:
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for path in sorted(files, key=lambda path: path.name):
                content = path.read_bytes()
                # Without a time, an owner or rights of the file that it was.
                entry = tarfile.TarInfo(path.name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def keep(target, crate, files):
    """Writes what the checked-in folder has not into the archive beside it, the longest left out if it would be too large."""
    known = {path.read_bytes() for path in (crate / f"fuzz/corpus/{target}").iterdir()}
    files = sorted((path for path in files if path.read_bytes() not in known), key=lambda path: (path.stat().st_size, path.name))
    archive = archived(files)
    while len(archive) >= LARGEST_ARCHIVE:
        files = files[: len(files) * 19 // 20]
        archive = archived(files)
    path = crate / f"fuzz/corpus/{target}.tar.gz"
    path.write_bytes(archive)
    print(f"fuzz {target}: {path.relative_to(ROOT)} has {len(files)} inputs in {len(archive)} bytes")


def fuzz(target, scratch, seconds, is_kept):
    target_file = next(ROOT.glob(f"recs-*/fuzz/fuzz_targets/{target}.rs"), None)
    if target_file is None:
        sys.exit(f"FAILED: fuzz: no crate has a target {target}")
    crate = target_file.parents[2]
    grown, checked_in = unpacked(target, crate, scratch), crate / f"fuzz/corpus/{target}"
    limits = (f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=4096", "-print_final_stats=1")
    code, said = libfuzzer(target, crate, (grown, checked_in), *limits)
    number = {name: int(value) for name, value in re.findall(r"stat::(\w+):\s+(\d+)", said)}
    written = re.findall(r"Test unit written to (\S+)", said)
    if code != 0 or written:
        end = "\n".join(said.splitlines()[-30:])
        sys.exit(f"{end}\nFAILED: fuzz {target}: ended with {code}; found: {', '.join(written) or 'nothing that was written'}")
    print(
        f"fuzz {target}: {number['number_of_executed_units']} runs, {number['average_exec_per_sec']} a second, "
        f"{number['new_units_added']} inputs new, {number['peak_rss_mb']} MiB at most; nothing found"
    )
    for path in grown.iterdir():
        if path.stat().st_size > LONGEST_INPUT:
            path.unlink()
    fewest = scratch / f"fewest-{target}"
    fewest.mkdir()
    code, said = libfuzzer(target, crate, (fewest, grown, checked_in), "-merge=1", "-set_cover_merge=1", "-timeout=10")
    if code != 0:
        sys.exit(f"{said[-2000:]}\nFAILED: fuzz {target}: minimising the corpus ended with {code}")
    files = [path for path in fewest.iterdir() if path.stat().st_size <= LONGEST_INPUT]
    before = len(list(grown.iterdir())) + len(list(checked_in.iterdir()))
    print(f"fuzz {target}: {len(files)} of {before} inputs reach what all of them do")
    if is_kept:
        keep(target, crate, files)
