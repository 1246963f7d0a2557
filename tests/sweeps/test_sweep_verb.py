"""`poets sweep` reports mistakes before any work, in one message, with exit code 2."""

import pytest

from poets.cli import run
from tests.command import run_poets


def test_mistakes_are_one_message_and_exit_code_2(tmp_path):
    ended = run_poets(
        [
            "sweep",
            f"--output_dir={tmp_path / 'out'}",
            "--grid=learning_rat=1",
            "--grid=seed=a",
            "--train_batch_size=0",
        ],
        {},
    )
    assert ended.code == 2
    assert ended.out == ""
    lines = ended.err.splitlines()
    assert lines[0] == "poets sweep: the sweep cannot start: 3 problems"
    assert "--image_dir is required" in ended.err
    assert "--train_batch_size=0: must be at least 1" in ended.err
    assert "(did you mean 'learning_rate'?)" in ended.err
    assert "a: takes a whole number" in ended.err
    assert not (tmp_path / "out").exists()


def test_images_that_are_not_there_are_found_before_the_work(tmp_path, capsys):
    absent = tmp_path / "absent"
    flags = [f"--output_dir={tmp_path / 'out'}", f"--image_dir={absent}"]
    flags += [f"--bottleneck_dir={tmp_path / 'store'}", "--grid=seed=1,2"]
    assert run(["sweep", *flags]) == 2
    assert f"Image directory '{absent}' not found" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--output_dir", "--grid", "--runs", "--image_dir"])
def test_help_names_its_own_flags_and_those_of_retrain(flag, capsys):
    with pytest.raises(SystemExit) as ended:
        run(["sweep", "--help"])
    assert ended.value.code == 0
    assert flag in capsys.readouterr().out


def test_without_a_folder_for_results_it_does_not_start(capsys):
    assert run(["sweep", "--image_dir=x", "--grid=seed=1,2"]) == 2
    assert "--output_dir is required: folder for results" in capsys.readouterr().err
