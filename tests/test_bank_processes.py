"""Banks made by processes of their own: cut, out of space, and several at once."""

import random
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from banks import TRAIN, contents, experts_of, made, read, whole
from processes import in_two_processes, started

from jaxdistill.cli import main
from jaxdistill.io.expert_bank import load_bank


def training(out, *before):
    """A process that trains experts until it is killed."""
    return started([*TRAIN, "--count", "500", "--resume", "--out", str(out)], *before)


def test_two_processes_make_the_experts_of_one_and_the_first_alone_writes(bank, tmp_path):
    out, _ = in_two_processes([*TRAIN, "--count", "2", "--resume"], tmp_path)
    assert whole(out) == 2
    assert read(out) == read(bank)
    for one, other in zip(load_bank(out).params, load_bank(bank, 2).params, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_full_disk_is_told_in_a_sentence(bank, tmp_path):
    del bank  # whose programs are compiled
    room = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=16k tmpfs {tmp_path}"
    if shutil.which("unshare") is None or subprocess.run([*room, mount], capture_output=True, check=False).returncode:
        pytest.skip("needs a small file system of its own")
    process = training(tmp_path / "bank", *room, f'{mount} && exec "$@"', "sh")
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 2, said
    assert "free some space" in said
    assert said.count("\n") == 1


def kill_and_resume(tmp_path, moments, capsys):
    """Kill the training at each moment, ``(experts more, seconds after them)``, and let it be completed at last."""
    out, reached = tmp_path / "cut", [0]
    for more, delay in moments:
        process = training(out)
        while process.poll() is None and (not out.exists() or len(experts_of(out)) < reached[-1] + more):
            time.sleep(0.002)
        assert process.poll() is None, process.communicate()
        if more and not reached[-1]:
            assert main(["experts", "--quiet", "--resume", "--out", str(out)]) == 2
            assert "another command is at work" in capsys.readouterr().err
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        reached.append(whole(out))
        assert reached[-1] >= reached[-2] + more
    count = str(reached[-1] + 2)
    made(out, "experts", "--quiet", "--resume", "--count", count)
    assert whole(out) == int(count)
    assert not [path for path in out.parent.rglob(".*")], "something half-written was left behind"
    assert contents(out) == contents(made(tmp_path / "whole", *TRAIN, "--count", count))


def test_a_bank_whose_making_is_killed_holds_whole_experts_and_can_be_completed(bank, tmp_path, capsys):
    del bank  # whose programs are compiled
    rng = random.Random()
    kill_and_resume(tmp_path, [(more, rng.uniform(0, 0.1)) for more in (0, 1, 2)], capsys)


@pytest.mark.slow
def test_a_bank_whose_making_is_killed_many_times(bank, tmp_path, capsys):
    del bank
    rng = random.Random(1)
    kill_and_resume(tmp_path, [(rng.randrange(1, 4), rng.uniform(0, 0.2)) for _ in range(12)], capsys)
