"""What would fail at a real KDC and a real HDFS is reported before the work.

Each case runs `poets retrain` as users do. It must end within seconds, before
TensorFlow is imported, with the step, the principal and the cure, and leave nothing.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from poets.doctor import TIMEOUT_S
from tests.command import Ended, run_python, silent_server
from tests.retraining import IMAGES, write_images
from tests.secure import Hdfs, conf_with_namenode

INPUT = "/tensorflow_input_data/preflight"
OUTPUT = "/tensorflow/preflight"
"""What a run takes at most, but for those that wait for a silent server."""


@pytest.fixture(scope="module")
def hdfs(secure_hdfs: Hdfs, tmp_path_factory: pytest.TempPathFactory) -> Hdfs:
    """The session's HDFS with labelled images in `INPUT` and a folder `OUTPUT`."""
    images = write_images(tmp_path_factory.mktemp("drawn") / "images")
    secure_hdfs.cluster.put(images, INPUT)
    secure_hdfs.cluster.make_folder(OUTPUT, "tensorflow:tensorflow")
    return secure_hdfs


LIST = """
import logging, sys
from poets.data.dataset import find_images
logging.basicConfig()
print(find_images(sys.argv[1]).folders)
"""


START = """
import runpy, sys
import poets.doctor
poets.doctor.TIMEOUT_S = float(sys.argv.pop(1))  # before anybody has it
runpy.run_module("poets", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def retrain(tmp_path):
    """Runs `poets retrain` on HDFS; returns how it ended, having checked the rest."""

    def run(
        environment: dict[str, str], timeout_s: float = TIMEOUT_S, **flags: str
    ) -> Ended:
        out = f"hdfs://default{OUTPUT}"
        flags = {
            "image_dir": f"hdfs://default{INPUT}",
            "architecture": "scattering_96",
            "output_graph": f"{out}/retrained_graph.pb",
            "output_labels": f"{out}/retrained_labels.txt",
            "bottleneck_dir": f"{out}/bottlenecks",
            "summaries_dir": f"{out}/summaries",
            "saved_model_dir": f"{out}/saved_model/1",
            "checkpoint_path": "",
            "model_dir": str(tmp_path / "models"),
            **flags,
        }
        words = [f"--{name}={value}" for name, value in flags.items()]
        start = ["-X", "importtime", "-c", START, str(timeout_s)]
        ended = run_python([*start, "retrain", *words], environment)
        assert "poets.preflight" in ended.err
        assert not re.search(r"\| +tensorflow\b", ended.err), "TensorFlow was imported"
        assert ended.out == ""
        lines = ended.err.splitlines(keepends=True)
        told = [line for line in lines if not line.startswith("import time:")]
        return replace(ended, err="".join(told))

    return run


def assert_refused(ended: Ended, *texts: str, code: int = 1) -> None:
    """Asserts that a job did not start, and that it said all texts."""
    assert ended.code == code, ended.err
    told = ended.err.partition("poets retrain: the job cannot start")[2]
    for text in texts:
        assert text in told, ended.err
    assert "; " in told, "no cure"


def test_a_folder_of_krb5_conf_that_is_absent(retrain, hdfs, tmp_path):
    path = tmp_path / "krb5.conf"
    path.write_text(f"includedir /no/krb5.conf.d/\n{hdfs.krb5_conf.read_text()}")
    ended = retrain(hdfs.environment("tensorflow") | {"KRB5_CONFIG": str(path)})
    assert_refused(
        ended,
        f"{str(path)!r}, line 1: includedir '/no/krb5.conf.d/' cannot be read: no such",
    )


def test_no_right_to_write_is_reported_for_all_folders(retrain, hdfs):
    ended = retrain(hdfs.environment("alice"))
    assert_refused(
        ended,
        " as alice@LOCAL: cannot write results: 4 problems\n",
        *(
            f"  - cannot write in 'hdfs://default{OUTPUT}{folder}': 'alice' may not "
            f"write in '{OUTPUT}', which belongs to tensorflow:tensorflow with "
            "drwxr-xr-x; ask its owner"
            for folder in ("", "/bottlenecks", "/saved_model", "/summaries")
        ),
    )
    assert hdfs.dfs("-ls", OUTPUT).stdout == "", "it left something behind"


def test_mistakes_of_images_and_outputs_are_reported_together(retrain, hdfs, tmp_path):
    (tmp_path / "file").write_text("mine")
    ended = retrain(
        hdfs.environment("tensorflow"),
        image_dir="hdfs://default/tensorflow_input_data/none",
        output_labels=str(tmp_path / "file" / "labels.txt"),
        output_graph="hdfs://default/graph.pb",
    )
    assert_refused(
        ended,
        " as tensorflow@LOCAL: 2 problems\n",
        "Image directory 'hdfs://default/tensorflow_input_data/none' not found",
        "cannot write results: 2 problems\n",
        f"'{tmp_path}/file' is a file; name a folder",
        "'tensorflow' may not write in '/', which belongs to hdfs:",
        code=2,
    )


def test_a_label_that_cannot_be_listed(retrain, hdfs):
    folder = "/tensorflow_input_data/closed"
    hdfs.change(("mkdirs", folder, 0o755, True))
    hdfs.change(("mkdirs", f"{folder}/daisy", 0o700, True))
    ended = retrain(
        hdfs.environment("tensorflow"),
        image_dir="hdfs://default/tensorflow_input_data/closed",
    )
    assert_refused(
        ended,
        " as tensorflow@LOCAL: cannot list "
        "'hdfs://default/tensorflow_input_data/closed/daisy'",
        "'tensorflow' may not list '/tensorflow_input_data/closed/daisy'",
        "every label's folder must be readable",
        code=2,
    )


def test_folders_that_hadoop_passes_over_need_not_be_readable(hdfs):
    folder = "/tensorflow_input_data/with_hidden"
    hdfs.change(
        *(
            ("create", f"{folder}/{name}", 0)
            for name in ("_SUCCESS", "_temporary/0/1.jpg", ".staging/1.jpg")
        ),
        *(("create", f"{folder}/daisy/{number}.jpg", 0) for number in range(30)),
        *(("create", f"{folder}/tulips/{number}.jpg", 0) for number in range(30)),
        *(
            ("set_permission", f"{folder}/{name}", 0o700)
            for name in ("_temporary", ".staging")
        ),
    )
    url = f"hdfs://default{folder}"
    ended = run_python(["-c", LIST, url], hdfs.environment("tensorflow"))
    assert ended.code == 0, ended.err
    assert ended.out == "('daisy', 'tulips')\n"
    assert "passed over '.staging', '_SUCCESS', '_temporary': names that" in ended.err


def test_a_principal_that_the_kdc_does_not_know(retrain, hdfs):
    environment = hdfs.environment("gone")
    hdfs.kdc.kadmin("delprinc", "-force", "gone@LOCAL")
    assert_refused(
        retrain(environment),
        " as gone@LOCAL: ticket: no ticket for 'gone@LOCAL': Client 'gone@LOCAL' not "
        "found in Kerberos database; the KDC",
    )


def test_the_keytab_of_another_principal(retrain, hdfs):
    keytab = str(hdfs.keytab("alice"))
    ended = retrain(hdfs.environment("tensorflow") | {"KRB5_CLIENT_KTNAME": keytab})
    assert_refused(
        ended,
        f": keytab {keytab!r} has no key of 'tensorflow@LOCAL', but of "
        "alice@LOCAL; give its own keytab",
        code=2,
    )


def test_a_keytab_older_than_the_account_s_key(retrain, hdfs, tmp_path):
    environment = hdfs.environment("old")
    keytab = shutil.copy(environment["KRB5_CLIENT_KTNAME"], tmp_path / "old.keytab")
    hdfs.kdc.kadmin("cpw", "-randkey", "old@LOCAL")
    ended = retrain(environment | {"KRB5_CLIENT_KTNAME": str(keytab)})
    assert_refused(
        ended, " as old@LOCAL: ticket: no ticket for", "export the keytab again"
    )


def test_a_kdc_that_is_down(retrain, hdfs):
    environment = hdfs.environment("tensorflow")
    hdfs.kdc.stop()
    try:
        ended = retrain(environment)
    finally:
        hdfs.kdc.start()
    assert_refused(
        ended,
        " as tensorflow@LOCAL: ticket: no ticket for 'tensorflow@LOCAL': Cannot "
        "contact any KDC for realm 'LOCAL'; the KDC",
        "check that it runs",
    )


def test_a_namenode_that_is_down(retrain, hdfs, closed_port, tmp_path):
    conf = conf_with_namenode(hdfs, closed_port, tmp_path / "conf")
    ended = retrain(hdfs.environment("tensorflow") | conf, timeout_s=2)
    address = f"localhost:{closed_port}"
    assert_refused(
        ended,
        f" as tensorflow@LOCAL: NameNode: nothing listens at {address}",
        "check whether the NameNode is up",
    )


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with silent_server() as port:
        yield port


def test_a_namenode_that_says_nothing(retrain, hdfs, silent_port):
    ended = retrain(
        hdfs.environment("tensorflow"),
        timeout_s=2,
        image_dir=f"hdfs://localhost:{silent_port}/x",
    )
    assert_refused(
        ended,
        " as tensorflow@LOCAL: NameNode: ",
        "took more than 2 s",
        "check whether it is up",
    )


def test_no_configuration(retrain, hdfs):
    ended = retrain(hdfs.kdc.environment("tensorflow"))
    assert_refused(ended, ": fs.defaultFS is not set", "with --hadoop_conf")


def test_a_server_of_the_configuration_that_says_nothing(retrain, hdfs, silent_port):
    uri = f"http://127.0.0.1:{silent_port}"
    ended = retrain(
        hdfs.kdc.environment("tensorflow"),
        timeout_s=2,
        hadoop_conf=f"{uri}/v1/endpoints",
    )
    assert_refused(
        ended,
        f": cannot read '{uri}/v1/endpoints/core-site.xml': ",
        "took more than 2 s",
    )


def test_flags_say_who_we_are_and_where_the_cluster_is(retrain, hdfs, tmp_path):
    """The principal of the flags is refused, so it is the one that was used."""
    ended = retrain(
        {"KRB5_CONFIG": str(hdfs.krb5_conf)},
        hadoop_conf=str(hdfs.conf_dir),
        kerberos_principal="alice@LOCAL",
        kerberos_keytab=str(hdfs.keytab("alice")),
    )
    assert_refused(ended, " as alice@LOCAL: cannot write results: 4 problems")


def test_a_ticket_that_is_short_is_warned_of(retrain, hdfs, tmp_path):
    cache = f"FILE:{tmp_path / 'cache'}"
    login = {"KRB5_CONFIG": str(hdfs.krb5_conf), "KRB5CCNAME": cache}
    subprocess.run(
        ["kinit", "-l", "10m", "-k", "-t", hdfs.keytab("alice"), "alice@LOCAL"],
        env=login | {"PATH": "/usr/bin:/bin"},
        check=True,
        timeout=300,
    )
    ended = retrain(login, hadoop_conf=str(hdfs.conf_dir))
    assert_refused(ended, " as alice@LOCAL: cannot write results: 4 problems")
    assert re.search(
        r"WARNING\]: the ticket of alice@LOCAL ends at .*, in 10 min, and the job may "
        r"take 60 min; give a keytab \(--kerberos_keytab\)",
        ended.err,
    )


PREFLIGHT = """
import json, sys
from poets.flags import config_from_args
from poets.preflight import preflight
print(len(preflight(config_from_args(json.loads(sys.argv[1]))).images))
"""


def test_a_job_that_can_start_leaves_no_probe(hdfs):
    out = f"hdfs://default{OUTPUT}/new"
    flags = {
        "image_dir": f"hdfs://default{INPUT}",
        "output_graph": f"{out}/graph.pb",
        "output_labels": f"{out}/labels.txt",
        "bottleneck_dir": f"{out}/bottlenecks",
        "summaries_dir": f"{out}/summaries",
        "saved_model_dir": f"{out}/saved_model/1",
        "checkpoint_path": "",
    }
    environment = hdfs.environment("tensorflow")
    ended = run_python(["-c", PREFLIGHT, json.dumps(flags)], environment)
    assert (ended.code, ended.out) == (0, f"{IMAGES}\n"), ended.err
    listing = hdfs.dfs("-ls", "-R", f"{OUTPUT}/new").stdout
    assert not re.search(r"^-", listing, re.MULTILINE), "it left a file behind"


def test_a_user_whom_it_may_not_act_for_is_named_with_the_other(retrain, hdfs):
    ended = retrain(hdfs.environment("tensorflow") | {"HADOOP_PROXY_USER": "bob"})
    assert_refused(
        ended,
        " as tensorflow@LOCAL acting for bob: NameNode: ",
        "does not let 'tensorflow@LOCAL' act for 'bob' (HADOOP_PROXY_USER); unset",
    )
