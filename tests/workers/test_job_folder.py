"""Workers of one job find each other, and what is old is removed."""

import os
import time

import pytest

from poets.cluster import Cluster
from poets.errors import ConfigError
from poets.flags import config_from_args
from poets.workers.chief import Chief
from poets.workers.folder import JobFolder, Watch


def config(**flags):
    return config_from_args({"image_dir": "i", "bottleneck_dir": "/b", **flags})


@pytest.mark.parametrize(
    "flags", [{"processes": 3}, {"kerberos_keytab": "/k"}, {"chief_timeout_s": 7}]
)
def test_flags_of_a_single_task_do_not_part_the_workers(flags):
    assert JobFolder.of(config(**flags), 2).url == JobFolder.of(config(), 2).url


@pytest.mark.parametrize("flags", [{"learning_rate": 0.5}, {"output_graph": "/o"}])
def test_jobs_with_other_flags_have_folders_of_their_own(flags):
    assert JobFolder.of(config(**flags), 2).url != JobFolder.of(config(), 2).url
    assert JobFolder.of(config(), 3).url != JobFolder.of(config(), 2).url
    assert JobFolder.of(config(), 2, "a sweep").url != JobFolder.of(config(), 2).url
    assert (
        JobFolder.of(config(), 2, "a sweep").url
        != JobFolder.of(config(), 2, "another").url
    )


def test_what_is_not_there_says_nothing(tmp_path):
    folder = JobFolder(str(tmp_path / "job"))
    assert folder.read("chief.json") == {}
    folder.write("chief.json", {"beat": 1})
    assert folder.read("chief.json") == {"beat": 1}


@pytest.mark.parametrize("state", ["done", "working", "failed"])
def test_a_chief_that_cannot_start_reports_it_whatever_an_earlier_one_left(
    tmp_path, state
):
    mine = config(bottleneck_dir=str(tmp_path / "b"), output_graph=str(tmp_path / "o"))
    folder = JobFolder.of(mine, 2)
    folder.write("chief.json", {"attempt": "earlier", "state": state, "beat": 7})
    with pytest.raises(ConfigError), Chief(Cluster(num_workers=2), mine):
        raise ConfigError("no images")
    told = folder.read("chief.json")
    assert (told["state"], told["reason"]) == ("failed", "no images")
    assert told["exit_code"] == 2
    assert told["attempt"] != "earlier"


def test_old_files_and_dead_jobs_are_removed_and_living_ones_kept(tmp_path):
    folder = JobFolder(str(tmp_path / "mine"))
    for name in ("chief.json", "plan-old.parquet", "worker-9.json"):
        folder.write(name, {})
    (tmp_path / "mine" / ".chief.json.0123456789ab.part").write_text("in the making")
    for name, age_days in (("dead", 2), ("living", 0)):
        JobFolder(str(tmp_path / name)).write("chief.json", {})
        seconds = time.time() - age_days * 86400
        os.utime(tmp_path / name / "chief.json", (seconds, seconds))
    folder.clear(("chief",))
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == [
        "living",
        "living/chief.json",
        "mine",
        "mine/.chief.json.0123456789ab.part",
        "mine/chief.json",
    ]


def test_a_watch_counts_changes_and_not_its_first_sight():
    watch = Watch()
    watch.see({"beat": 1})
    watch.see({"beat": 1})
    assert watch.changes == 0
    assert watch.see({"beat": 2}) == 0
    assert watch.changes == 1
