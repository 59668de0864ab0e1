"""Commands in processes of their own."""

import os
import socket
import subprocess
import sys

EIGHT_DEVICES = {
    "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8",
    "JAX_PLATFORMS": "cpu",
}


def started(words, *before, **environment):
    command = [*before, sys.executable, "-m", "jaxdistill", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=os.environ | environment, text=True, **pipes)


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def in_two_processes(words, tmp_path, **environment):
    """Run a command in two processes that join, of which the first alone writes: its folder, and what both printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    outs = [tmp_path / "first", tmp_path / "second"]
    places = [["--distributed", f"127.0.0.1:{port},2,{i}", "--out", str(out)] for i, out in enumerate(outs)]
    processes = [started([*words, *place], JAX_PLATFORMS="cpu", **environment) for place in places]
    said = [finish(process) for process in processes]
    assert not outs[1].exists()
    return outs[0], said
