"""Three hosts, as network namespaces: a scheduler and two workers, and a link that is cut."""

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack

import pytest
from distributed import Security
from machines import address, epochs, scheduler, trace, until, worker

pytestmark = pytest.mark.cluster
HOSTS = ("hub", "left", "right")
# A peer whose packets stay away for so long is given up; Dask's default is 30 s.
PATIENCE = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s"}
SCRIPT = """
import trial_functions  # noqa: F401 - registers what runs may name here
import trial_functions
from kdnb.runs import trials
from kdnb.runs.trials import Trial
trials.run_all(Trial("slow", {"epochs": 1000}, seed) for seed in range(2))
"""


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def hosts():
    """Names of three namespaces on one bridge: 10.213.0.1, .2 and .3."""
    if not shutil.which("ip"):
        pytest.skip("no `ip`: install iproute2")
    names = {host: f"kdnb{os.getpid()}-{host}" for host in HOSTS}
    with ExitStack() as stack:
        try:
            for name in names.values():
                ip("netns", "add", name)
                stack.callback(ip, "netns", "del", name)
            ip("-n", names["hub"], "link", "add", "bridge", "type", "bridge")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine allows no network namespaces: {error.stderr.strip()}")
        for number, name in enumerate(names.values(), 1):
            ip("-n", name, "link", "add", "wire", "type", "veth", "peer", "name", f"end{number}",
               "netns", names["hub"])  # fmt: skip
            ip("-n", name, "address", "add", f"10.213.0.{number}/24", "dev", "wire")
            ip("-n", name, "link", "set", "wire", "up")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", names["hub"], "link", "set", f"end{number}", "master", "bridge", "up")
        ip("-n", names["hub"], "link", "set", "bridge", "up")
        yield names


def certificates(folder):
    """Files of one certificate for all roles, and Dask's options that name them."""
    made = Security.temporary()
    files = {"ca": folder / "ca.pem", "cert": folder / "ca.pem", "key": folder / "key.pem"}
    files["ca"].write_text(made.tls_ca_file)
    files["key"].write_text(made.tls_client_key)
    options = ["--tls-ca-file", files["ca"], "--tls-cert", files["cert"], "--tls-key", files["key"]]
    prefix = "DASK_DISTRIBUTED__COMM__TLS__"
    parts = {"CA_FILE": "ca", "CLIENT__CERT": "cert", "CLIENT__KEY": "key"}
    return [str(one) for one in options], {prefix + k: str(files[v]) for k, v in parts.items()}


def test_a_cut_link_costs_no_trial_and_none_is_run_twice(hosts, own_runs, monkeypatch):
    place = own_runs / "dask"
    place.mkdir()
    tls, variables = certificates(own_runs)
    for name, value in {**PATIENCE, **variables}.items():
        monkeypatch.setenv(name, value)

    def inside(host):
        return ("ip", "netns", "exec", hosts[host])

    with ExitStack() as stack:
        listens = ["--host", "10.213.0.1", "--protocol", "tls"]
        stack.enter_context(scheduler(place, *listens, *tls, inside=inside("hub")))
        assert address(place).startswith("tls://10.213.0.1:")
        for host, number in (("left", 2), ("right", 3)):
            options = ["--nthreads", "1", "--host", f"10.213.0.{number}", *tls]
            stack.enter_context(worker(place, *options, inside=inside(host)))
        monkeypatch.setenv("KDNB_CLUSTER", address(place))
        run = subprocess.Popen(
            [*inside("hub"), sys.executable, "-c", SCRIPT], stderr=subprocess.PIPE, text=True
        )
        stack.callback(run.kill)
        until(lambda: {"epoch 0 20", "epoch 1 20"} <= set(trace()))  # one on each
        ip("-n", hosts["left"], "link", "set", "wire", "down")
        message = run.communicate(timeout=400)[1]
        assert run.returncode == 0, message
    assert set(trace()) == epochs(2, 1000)
    # The worker that was cut off went on with its trial, or ended: then the other did, one epoch
    # being lost. Both at once would have left every line twice.
    assert len(trace()) <= 2001
