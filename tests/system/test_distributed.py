"""Whether a command is one of several processes, by its flags and its environment."""

import subprocess
import sys

import pytest

from inres.system.distributed import Place, place

SLURM = {
    "SLURM_JOB_ID": "4242",
    "SLURM_STEP_NODELIST": "node[007-010],other2",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}
OPEN_MPI_4 = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}
OPEN_MPI_5 = {name: value for name, value in OPEN_MPI_4.items() if "orte" not in name}


@pytest.fixture
def environment(monkeypatch):
    def use(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    for name in SLURM | OPEN_MPI_4:
        monkeypatch.delenv(name, raising=False)
    return use


def test_a_plain_command_is_one_process_and_does_not_import_jax():
    program = """if True:
        import sys
        from inres.system import distributed, together
        distributed.join(distributed.place(None, None, None))
        together.run(lambda: print(together.count(), list(together.in_turn(abs, [-2, 3]))))
        assert "jax" not in sys.modules
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1 [2, 3]\n", "")


def test_flags_say_all(environment):
    environment({})
    assert place("host:123", 4, 2) == Place(2, 4, "host:123")
    assert place("[::1]:123", 2, 0) == Place(0, 2, "[::1]:123")
    assert place(None, 1, None) is None
    assert place("host:123", 1, 0) is None


def test_slurm_and_open_mpi_are_found(environment):
    environment(SLURM)
    assert place(None, None, None) == Place(3, 4, None, "slurm")
    environment(SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"})
    assert place(None, None, None) is None


def test_open_mpi_is_found(environment):
    environment(OPEN_MPI_4)
    assert place(None, None, None) == Place(1, 2, None, "ompi")


def test_one_process_can_be_had_anywhere(environment):
    environment(SLURM)
    assert place(None, 1, None) is None


def test_a_version_of_open_mpi_that_is_not_recognised_needs_the_host_alone(environment):
    environment(OPEN_MPI_5)
    with pytest.raises(ValueError, match=r"Open MPI started 2 processes.*--coordinator=HOST:PORT"):
        place(None, None, None)
    assert place("node1:4321", None, None) == Place(1, 2, "node1:4321")


def test_kubernetes_that_cannot_be_asked_is_not_taken_for_one_process(environment, monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes", None)  # as if not installed
    environment({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"})
    with pytest.raises(ValueError, match=r"Kubernetes.*jax\[k8s\].*--processes=1"):
        place(None, None, None)
    assert place(None, 1, None) is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("host:1", None, None), "also need --processes and --process; on one machine, `python -m"),
        ((None, 4, 1), "also need --coordinator=HOST:PORT; on one"),
        ((None, None, 0), "also need --coordinator=HOST:PORT and --processes;"),
        (("host", 2, 0), "--coordinator=host: must be HOST:PORT"),
        ((":12", 2, 0), "--coordinator=:12: must be HOST:PORT"),
        (("host:0x1", 2, 0), "--coordinator=host:0x1: must be"),
        (("host:70000", 2, 0), "--coordinator=host:70000: must be"),
        (("host:1", 0, 0), "--processes=0: must be at least 1"),
        (("host:1", 4, 4), r"--process=4: must be one of 0\.\.3, as --processes=4"),
        (("host:1", 4, -1), "--process=-1: must be one of"),
        ((None, 1, 3), "also need --coordinator"),
    ],
)
def test_missing_and_impossible_flags_are_named(environment, flags, message):
    environment({})
    with pytest.raises(ValueError, match=message):
        place(*flags)
