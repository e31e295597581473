"""The launchers for clusters, against stand-ins for srun, scontrol and gcloud."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SCRIPTS = ROOT / "scripts"

# Starts the command as two tasks of one step, as srun does, and ends with the worst status.
SRUN = f"""#!{sys.executable}
import json, os, subprocess, sys
from pathlib import Path

own = [word for word in sys.argv[1:] if word.startswith("--")][:1]
command = sys.argv[1 + len(own) :]
with Path(os.environ["SAID"]).open("a") as said:
    said.write(json.dumps(["srun", own, command]) + "\\n")
tasks = []
for index in range(2):
    place = {{
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(index),
        "SLURM_LOCALID": str(index),
    }}
    tasks.append(subprocess.Popen(command, env=os.environ | place))
worst = 0
for task in tasks:  # --kill-on-bad-exit
    worst = worst or task.wait()
    if worst:
        [other.kill() for other in tasks]
sys.exit(worst)
"""
TELL = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path

with Path(os.environ["SAID"]).open("a") as said:
    said.write(json.dumps([Path(sys.argv[0]).name, *sys.argv[1:]]) + "\\n")
"""


def stand_in(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def cluster(tmp_path):
    """The environment of a job, with the stand-ins first on its PATH."""
    for name, text in (("srun", SRUN), ("scontrol", TELL), ("gcloud", TELL)):
        stand_in(tmp_path / "bin" / name, text)
    venv = tmp_path / "venv"
    stand_in(venv / "bin" / "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    files = (ROOT / name for name in ("pyproject.toml", "constraints.txt"))
    stamp = subprocess.run(
        ["cksum"], input=b"".join(map(Path.read_bytes, files)), capture_output=True, check=True
    ).stdout.decode()
    for extras in ("plot", "plot-cuda", "plot-tpu"):  # made already
        (venv / f"stamp-{extras}").write_text(stamp)
    return os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "SAID": str(tmp_path / "said"),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_SUBMIT_DIR": str(ROOT),
        "VENV": str(venv),
        "EXTRAS": "plot",
    }


def said(environment):
    path = Path(environment["SAID"])
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def submit(environment, *args, **more):
    return subprocess.run(
        ["bash", str(SCRIPTS / "slurm.sbatch"), *args],
        env=environment | more,
        capture_output=True,
        text=True,
    )


def test_slurm_tasks_find_each_other_and_make_one_run(cluster, tmp_path):
    """JAX's own detection of Slurm, in two processes on this machine."""
    folder = tmp_path / "a run"
    options = ("--seeds", "1", "--epochs", "1", "--platform", "cpu", "--out", str(folder))
    done = submit(cluster, "experiments.milk", *options)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "result.json").read_text())["device"].endswith("in 2 processes")
    ((_, own, command),) = said(cluster)
    assert own == ["--kill-on-bad-exit=1"]
    assert command[6:9] == ["-m", "experiments.milk", "--cluster"]


@pytest.mark.parametrize("out", [("--out", "{}"), ("--out={}",)])
def test_slurm_queues_a_stopped_run_again_and_resumes_it(cluster, tmp_path, out):
    python = Path(cluster["VENV"]) / "bin" / "python"
    folder = tmp_path / "a run"
    call = ("experiments.milk", *(word.format(folder) for word in out))
    # One task is done saving before the other.
    stand_in(python, "#!/bin/sh\nsleep 0.$SLURM_PROCID; exit 75\n")
    assert submit(cluster, *call).returncode == 75
    assert said(cluster)[1] == ["scontrol", "requeue", cluster["SLURM_JOB_ID"]]
    stand_in(python, "#!/bin/sh\nexit 0\n")
    again = {"SLURM_RESTART_COUNT": "1"}
    assert submit(cluster, *call, **again).returncode == 0
    assert "--resume" not in said(cluster)[2][2]  # it was stopped before it had begun
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert submit(cluster, *call, **again).returncode == 0
    assert said(cluster)[3][2][-1] == "--resume"
    stand_in(python, "#!/bin/sh\nexit 2\n")
    assert submit(cluster, *call).returncode == 2
    assert len(said(cluster)) == 5  # neither what is done nor what failed is queued again


def test_slurm_says_what_is_missing(cluster, tmp_path):
    assert "Say which experiment" in submit(cluster).stderr
    assert "Say which experiment" in submit(cluster, "experiments.milk").stderr
    elsewhere = submit(cluster, "experiments.milk", SLURM_SUBMIT_DIR=str(tmp_path))
    assert elsewhere.returncode == 2
    assert "not the repository's root" in elsewhere.stderr


def test_slurm_directives_are_options_of_sbatch():
    known = {"job-name", "nodes", "ntasks-per-node", "time", "signal", "requeue", "open-mode"}
    lines = (SCRIPTS / "slurm.sbatch").read_text().splitlines()
    directives = [line for line in lines if line.startswith("#SBATCH")]
    assert lines.index(directives[-1]) == len(directives)  # after a command they would not count
    for line in directives:
        option, _, value = line.removeprefix("#SBATCH --").partition("=")
        assert option in known | {"output"}
        assert bool(value) == (option != "requeue")


def test_a_tpu_pod_gets_one_command_for_every_host(cluster, tmp_path):
    words = ("experiments.milk", "--out", "/mnt/it's shared/milk", "--seeds", "1")
    subprocess.run([SCRIPTS / "tpu_pod", "pod", "us-central2-b", *words], env=cluster, check=True)
    ((*start, command),) = said(cluster)
    assert start == [
        *("gcloud", "compute", "tpus", "tpu-vm", "ssh", "pod"),
        *("--zone", "us-central2-b", "--worker=all", "--command"),
    ]
    # What a host's shell makes of it.
    stand_in(Path(cluster["VENV"]) / "bin" / "python", TELL)
    home = tmp_path / "home"
    home.mkdir()
    (home / "seqjax").symlink_to(ROOT)
    subprocess.run(["bash", "-c", command], env=cluster, cwd=home, check=True)
    assert said(cluster)[1][1:] == [
        *("-m", "experiments.milk", "--cluster", "--platform", "tpu"),
        *words[1:],
    ]


def test_a_tpu_pods_command_can_be_looked_at_first(cluster):
    done = subprocess.run(
        [SCRIPTS / "tpu_pod", "pod", "zone", "experiments.milk"],
        env=cluster | {"DRY_RUN": "1"},
        capture_output=True,
        text=True,
    )
    assert re.match(r"gcloud compute tpus tpu-vm ssh pod --zone zone --worker=all", done.stdout)
    assert not said(cluster)


@pytest.mark.parametrize("script", ["slurm.sbatch", "tpu_pod", "launch_local", "demo", "test"])
def test_bash_reads_the_scripts(script):
    subprocess.run(["bash", "-n", SCRIPTS / script], check=True)
