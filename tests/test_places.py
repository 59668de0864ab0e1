"""Where commands run: file systems, umask, buckets, pods, platforms, signals; and runs that go on to more steps."""

import errno
import fcntl
import os
import signal
import socket
import stat
import threading
import time

import numpy as np
import pytest
from processes import started

from jaxdistill.cli import main
from jaxdistill.commands import run_folder as folder
from jaxdistill.engine import signals
from jaxdistill.engine.pod import meet
from jaxdistill.errors import UsageError
from jaxdistill.io import files
from jaxdistill.io.artifact import load_set

SHORT = ["--dataset", "digits", "--ipc", "1", "--width", "8", "--quiet"]
RUN = ["distill", "dm", *SHORT]


def held(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    return folder.hold(tmp_path)


def test_locks_where_a_lock_of_files_is_one_of_posix(tmp_path, monkeypatch):
    """As on NFS, where a file has to be open for writing."""
    monkeypatch.setattr(fcntl, "flock", fcntl.lockf)
    with held(tmp_path):
        pass


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_said(code, tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with held(tmp_path):
        assert f"{tmp_path} cannot be locked ({os.strerror(code)})" in capsys.readouterr().err


def test_what_is_locked_is_refused(tmp_path):
    with held(tmp_path), pytest.raises(UsageError, match="another command is at work"), folder.hold(tmp_path):
        pytest.fail("it is held twice")


@pytest.mark.parametrize(("mask", "rights"), [(0o077, 0o700), (0o022, 0o755), (0o002, 0o775)])
def test_folders_have_the_rights_that_umask_gives(mask, rights, tmp_path):
    before = os.umask(mask)
    try:
        with files.new_folder(tmp_path / "new"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) & 0o777 == rights


def test_a_folder_keeps_the_group_of_its_parent(tmp_path):
    tmp_path.chmod(0o2775)
    if not tmp_path.stat().st_mode & stat.S_ISGID:
        return  # a file system without it
    with files.new_folder(tmp_path / "new"):
        pass
    assert (tmp_path / "new").stat().st_mode & stat.S_ISGID


@pytest.mark.parametrize("out", ["gs://bucket/run", "s3://bucket/run", "file:///tmp/run"])
@pytest.mark.parametrize("words", [["select", "random", *SHORT], ["experts", *SHORT[:2]], ["export", "set"]])
def test_buckets_are_refused(words, out, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--out", out]) == 2
    assert "--out is a folder of this machine" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_output_that_is_cut_off_is_no_complaint(monkeypatch, capsys):
    def closed(*_):
        raise BrokenPipeError

    monkeypatch.setattr("jaxdistill.cli.entry.COMMANDS", {"list": closed})
    assert main(["list"]) == 1
    assert capsys.readouterr().err == ""


def test_a_terminal_of_ascii_gets_the_table(tmp_path):
    out = tmp_path / "core"
    words = ["select", "random", *SHORT, "--eval-seeds", "2", "--eval-epochs", "1", "--out", str(out)]
    said, complaint = (process := started(words, PYTHONIOENCODING="ascii")).communicate(timeout=300)
    assert process.returncode == 0, complaint
    assert "+-" in said


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_processes_meet():
    place, found = f"127.0.0.1:{free_port()}", {}

    def come(index):
        found[index] = meet(f"{place},3,{index}", lambda line: None, wait=30.0)

    threads = [threading.Thread(target=come, args=(index,)) for index in (1, 2, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {index: (place, 3, index) for index in range(3)}


@pytest.mark.parametrize(("index", "says"), [(0, "process 1 of 2 did not come within"), (1, "process 0 at .* answer")])
def test_a_process_that_never_comes_is_waited_for_in_words_and_not_for_ever(index, says):
    lines = []
    with pytest.raises(UsageError, match=says):
        meet(f"127.0.0.1:{free_port()},2,{index}", lines.append, wait=0.5)
    assert "waiting up to 0 s" in lines[0]


@pytest.mark.parametrize("others", ["everywhere", "host:99999,2,0", "host:0,2,0", "host:9000,2,2", "host:9000,0,0"])
def test_pods_that_cannot_be(others):
    with pytest.raises(UsageError, match="--distributed"):
        meet(others, pytest.fail)


@pytest.mark.parametrize(
    ("options", "environment", "says"),
    [
        ([], {"JAX_PLATFORMS": "tpu"}, "JAX cannot use tpu here"),
        ([], {"JAX_PLATFORMS": "cuda"}, "JAX cannot use cuda here"),
        (["--distributed", "auto"], {"JAX_PLATFORMS": "cpu"}, "give --distributed HOST:PORT,COUNT,INDEX"),
    ],
)
def test_a_platform_or_pod_that_is_not_there_is_one_sentence(options, environment, says, tmp_path):
    words = ["select", "random", *SHORT, *options, "--out", str(tmp_path / "out")]
    _, complaint = (process := started(words, **environment)).communicate(timeout=300)
    assert process.returncode == 2, complaint
    assert says in complaint.splitlines()[-1]
    assert "Traceback" not in complaint
    assert not (tmp_path / "out").exists()


def ended(words, number, ready, **options):
    process = started(words, **options)
    while not ready() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    return process, process.communicate(timeout=300)[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_answers_and_saves(number, tmp_path):
    out = tmp_path / "run"
    words = [*RUN, "--steps", "100000", "--eval-seeds", "0", "--out", str(out)]
    process, said = ended(words, number, lambda: (out / "metrics.jsonl").exists())
    assert process.returncode == 1, said
    assert "stopping after the steps under way" in said
    assert "add --resume to the same command to go on" in said.splitlines()[-1]
    assert list((out / "checkpoints").iterdir())


@pytest.fixture
def interruptible():
    """As in a terminal: what runs in a shell's background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interruption_in_a_callback_that_swallows_it_comes_again(interruptible):
    class Odd:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def work():
        odd = Odd()
        del odd
        time.sleep(5)

    with signals.terminable(), pytest.raises(KeyboardInterrupt):
        work()


def test_what_cannot_be_resumed_is_not_said_to_be(tmp_path):
    words = ["select", "optimised", *SHORT, "--trials", "5000", "--out", str(tmp_path / "core")]
    began = time.monotonic()
    process, said = ended(words, signal.SIGTERM, lambda: time.monotonic() - began > 8)
    assert process.returncode == 1, said
    assert said.splitlines()[-1] == "jaxdistill: stopped; nothing is kept"
    assert not list(tmp_path.iterdir())


def test_a_run_goes_on_to_more_steps_as_if_it_had_begun_with_them(tmp_path, capsys):
    judged = ["--eval-seeds", "1", "--eval-epochs", "1"]
    for name, steps in (("short", "4"), ("long", "9")):
        assert main([*RUN, *judged, "--steps", steps, "--out", str(tmp_path / name)]) == 0
    more = ["distill", "dm", "--out", str(tmp_path / "short"), "--resume", "--steps"]
    assert main([*more, "3"]) == 2
    assert "was begun with 4 steps, which may become more and not fewer" in capsys.readouterr().err
    assert main([*more, "9"]) == 0
    ours, theirs = (load_set(tmp_path / name) for name in ("short", "long"))
    np.testing.assert_array_equal(ours.synthetic.images, theirs.synthetic.images)
    assert ours.card["evaluation"]["rows"][0]["accuracies"] == theirs.card["evaluation"]["rows"][0]["accuracies"]
    assert main(["distill", "dm", "--out", str(tmp_path / "short"), "--resume"]) == 0
    assert '"steps": 9' in (tmp_path / "short" / "config.json").read_text()


def test_a_run_whose_steps_follow_a_schedule_does_not_go_on(tmp_path, capsys):
    out = str(tmp_path / "run")
    sizes = [
        "--patch-size",
        "4",
        "--hidden-size",
        "8",
        "--num-layers",
        "1",
        "--num-heads",
        "1",
        "--diffusion-steps",
        "10",
    ]
    words = [*SHORT, *sizes, "--sampling-steps", "2", "--batch", "4", "--warmup", "0", "--eval-seeds", "0"]
    assert main(["distill", "dit", *words, "--steps", "2", "--out", out]) == 0
    capsys.readouterr()
    assert main(["distill", "dit", "--out", out, "--resume", "--steps", "5"]) == 2
    assert f"begin another with --init {out}" in capsys.readouterr().err
    assert main(["distill", "dit", "--out", out, "--resume"]) == 0


def test_a_set_of_more_images_than_a_class_has_is_judged_beside_all_that_there_are(tmp_path, capsys):
    images, labels = np.random.default_rng(0).integers(0, 255, (15, 8, 8, 1), np.uint8), np.repeat([0, 1], [10, 5])
    np.savez(tmp_path / "few.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    words = ["--dataset", str(tmp_path / "few.npz"), "--ipc", "8", "--init", "noise", "--steps", "1", "--width", "4"]
    out = str(tmp_path / "run")
    assert main(["distill", "dm", *words, "--eval-seeds", "1", "--eval-epochs", "1", "--out", out]) == 0
    assert "the smallest class has 5 training images" in capsys.readouterr().err
    assert main(["evaluate", out, "--seeds", "1", "--epochs", "1"]) == 0
    assert "random" in capsys.readouterr().out
