"""Which image trains and which tests: fixed by names and contents alone."""

import dataclasses
import hashlib
from collections import Counter

import numpy as np
import pytest

from poets.config import RetrainConfig
from poets.data.dataset import Dataset
from poets.data.image_columns import Image, Images
from poets.data.split import (
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    Splits,
    check_split,
    percentage_of,
    same_content,
    split_images,
)
from poets.errors import DatasetError

CONFIG = RetrainConfig(image_dir="flowers")


def images_of(*paths: str) -> list[Image]:
    return [Image(path, path.split("/")[0], 1, 0) for path in paths]


def many(count: int, folder: str = "daisy") -> list[Image]:
    return images_of(*(f"{folder}/{i}.jpg" for i in range(count)))


def digests_of(images) -> list[bytes]:
    """Contents that are all unlike each other."""
    return [hashlib.sha256(image.path.encode()).digest() for image in images]


def split(images, config=CONFIG, digests=None) -> list[str]:
    contents = np.array(digests or digests_of(images), np.bytes_)
    return split_images(labelled(images), contents, config).tolist()


def labelled(images) -> Dataset:
    folders = tuple(sorted({image.folder for image in images}))
    return Dataset("flowers", folders, folders, Images.of(images))


def original(path: str, testing: int, validation: int) -> str:
    """Returns the split of an image by the published script's formula."""
    largest = 2**27 - 1
    hashed = int(hashlib.sha1(path.encode()).hexdigest(), 16)
    percentage = (hashed % (largest + 1)) * (100.0 / largest)
    if percentage < validation:
        return VALIDATION
    return TEST if percentage < testing + validation else TRAIN


@pytest.mark.parametrize(
    ("testing", "validation"), [(10, 10), (1, 1), (40, 5), (5, 90)]
)
def test_the_formula_is_the_originals(testing, validation):
    config = RetrainConfig(testing_percentage=testing, validation_percentage=validation)
    images = many(500)
    assert split(images, config) == [
        original(image.path, testing, validation) for image in images
    ]


@pytest.mark.parametrize(("testing", "validation"), [(10, 10), (1, 1), (25, 50)])
def test_shares_are_what_the_percentages_say(testing, validation):
    config = RetrainConfig(testing_percentage=testing, validation_percentage=validation)
    counts = Counter(split(many(10_000), config))
    assert counts[TEST] / 100 == pytest.approx(testing, abs=1.5)
    assert counts[VALIDATION] / 100 == pytest.approx(validation, abs=1.5)
    assert sum(counts.values()) == 10_000


def test_percentages_fill_the_range_evenly():
    found = sorted(percentage_of(str(i)) for i in range(2000))
    assert found[0] >= 0
    assert found[-1] <= 100
    assert max(abs(value - i / 20) for i, value in enumerate(found)) < 4


def test_an_image_keeps_its_split_whatever_comes_beside_it():
    images = many(300)
    whole = dict(zip(images, split(images), strict=True))
    few = images[::7]
    assert split(few) == [whole[image] for image in few]
    backwards = images[::-1]
    assert split(backwards) == [whole[image] for image in backwards]


def test_the_label_is_part_of_the_name():
    assert split(many(300, "daisy")) != split(many(300, "roses"))


def test_another_split_seed_makes_another_split():
    images = many(300)
    splits = {tuple(split(images, RetrainConfig(split_seed=seed))) for seed in range(5)}
    assert len(splits) == 5
    assert tuple(split(images, RetrainConfig(seed=7))) == tuple(split(images))


def test_names_that_differ_after_nohash_stay_together():
    images = images_of(
        *(f"daisy/{i}_nohash_{k}.jpg" for i in range(200) for k in ("0", "b.c"))
    )
    splits = split(images)
    assert splits[::2] == splits[1::2]
    assert set(splits) == set(SPLITS)
    alone = split(images_of(*(f"daisy/{i}" for i in range(200))))
    assert splits[::2] == alone


def test_the_same_content_stays_together_under_any_name():
    images = many(200, "daisy") + many(200, "roses")
    contents = [str(i).encode() for i in range(200)] * 2
    splits = split(images, digests=contents)
    assert splits[:200] == splits[200:]
    assert set(splits) == set(SPLITS)


def test_ties_go_through_names_and_contents_alike():
    names = ["d/z_nohash_1.jpg", "c/y.jpg", "b/x_nohash_1.jpg", "b/x_nohash_2.jpg"]
    contents = [b"1", b"1", b"2", b"3"]
    images = images_of(*names, "d/z_nohash_2.jpg", "a/w.jpg")
    for seed in range(20):
        config = RetrainConfig(split_seed=seed)
        found = split(images, config, [*contents, b"2", b"3"])
        assert len(set(found)) == 1
        # The group has the split of its least name, and gets it in any order.
        assert found[0] == split(images_of("a/w.jpg"), config, [b"x"])[0]
        back = split(images[::-1], config, [b"3", b"2", *contents[::-1]])
        assert back == found


@pytest.mark.parametrize(
    ("contents", "groups"),
    [
        ([], []),
        ([b"a"], []),
        ([b"a", b"b", b"c"], []),
        ([b"b", b"a", b"b"], [[0, 2]]),
        ([b"z", b"a", b"z", b"a", b"m", b"z"], [[0, 2, 5], [1, 3]]),
        ([b"a"] * 4, [[0, 1, 2, 3]]),
    ],
)
def test_images_of_one_content_are_found_the_first_ones_first(contents, groups):
    digests = np.array([each * 32 for each in contents], "V32")
    assert [group.tolist() for group in same_content(digests)] == groups


def test_contents_that_are_not_known_tie_nothing():
    dataset = labelled(many(50))
    digests = np.array(digests_of(dataset.images), "V32")
    by_name, by_content = (
        split_images(dataset, found, CONFIG) for found in (None, digests)
    )
    assert by_name.tolist() == by_content.tolist()


def test_no_images_have_no_splits():
    assert split([]) == []


def test_a_long_chain_of_ties_is_one_group():
    images = many(3000)
    halves = [b"%d" % ((i + 1) // 2) for i in range(3000)]
    named = [
        Image(f"daisy/{i // 2}_nohash_{i}.jpg", "daisy", 1, 0) for i in range(3000)
    ]
    assert len(set(split(named, digests=halves))) == 1
    assert len(set(split(images))) == 3


def test_a_label_without_a_share_is_named():
    images = many(3, "daisy") + many(2, "roses")
    splits = [TRAIN, VALIDATION, TEST, TRAIN, TRAIN]
    assert check_split(labelled(images), Splits.of(splits)) == [
        "no validation images for 'roses': too few for a share of them",
        "no test images for 'roses': too few for a share of them",
    ]


def test_a_full_split_has_nothing_to_tell():
    images = many(3, "daisy") + many(3, "roses")
    assert check_split(labelled(images), Splits.of([*SPLITS, *SPLITS])) == []


def test_a_label_without_training_images_is_refused():
    images = many(2, "daisy") + many(2, "roses") + many(1, "tulips")
    splits = [TRAIN, TEST, VALIDATION, TEST, TEST]
    with pytest.raises(DatasetError) as caught:
        check_split(labelled(images), Splits.of(splits))
    assert str(caught.value) == (
        "no training images for 'roses', 'tulips': the split left none; add images, "
        "or lower --testing_percentage and --validation_percentage"
    )


@pytest.mark.parametrize(
    ("missing", "flag"), [(VALIDATION, "validation"), (TEST, "testing")]
)
def test_an_empty_split_is_refused(missing, flag):
    images = many(2, "daisy") + many(2, "roses")
    other = TEST if missing == VALIDATION else VALIDATION
    with pytest.raises(DatasetError) as caught:
        check_split(labelled(images), Splits.of([TRAIN, other, TRAIN, other]))
    assert str(caught.value) == (
        f"the {missing} split of 4 images is empty; add images, or raise "
        f"--{flag}_percentage"
    )


OWN = {"train": TRAIN, "valid": VALIDATION, "test": TEST}


def with_folders(count, *folders) -> Dataset:
    """Returns a dataset in which each folder of a split holds two labels."""
    images = [
        Image(f"{folder}/{label}/{i}.jpg", label, 1, 0)
        for folder in folders
        for label in ("daisy", "roses")
        for i in range(count)
    ]
    splits = {folder: OWN[folder] for folder in folders}
    return dataclasses.replace(labelled(images), splits=splits)


@pytest.mark.parametrize(("testing", "validation"), [(10, 10), (97, 2)])
def test_the_users_own_split_stays_whatever_the_flags(testing, validation):
    config = RetrainConfig(testing_percentage=testing, validation_percentage=validation)
    dataset = with_folders(20, *OWN)
    same = np.zeros(len(dataset.images), "V32")
    for digests in (None, same):
        found = split_images(dataset, digests, config).tolist()
        assert found == [OWN[image.path.split("/")[0]] for image in dataset.images]


@pytest.mark.parametrize(
    "folders", [("train",), ("train", "valid"), ("train", "test")], ids=str
)
def test_a_split_that_is_missing_is_carved_as_from_the_training_folder(folders):
    dataset = with_folders(300, *folders)
    found = split_images(dataset, None, CONFIG).tolist()
    given = [OWN[folder] for folder in folders[1:]]
    in_train = many(300, "daisy") + many(300, "roses")
    expected = [TRAIN if each in given else each for each in split(in_train)]
    assert found[:600] == expected
    assert set(found[600:]) == set(given)
    assert set(found) == set(SPLITS)


def test_contents_stay_together_in_what_is_carved():
    dataset = with_folders(200, "train", "test")
    contents = [b"%d" % (i % 200) for i in range(800)]
    found = split_images(dataset, np.array(contents, "S32"), CONFIG).tolist()
    assert found[:200] == found[200:400]
    assert found[400:] == [TEST] * 400


def test_a_label_that_its_own_folder_lacks_is_named():
    images = [Image(f"{f}/a/1.jpg", "a", 1, 0) for f in OWN]
    images += [Image(f"{f}/b/1.jpg", "b", 1, 0) for f in ("train", "valid")]
    dataset = dataclasses.replace(labelled(images), splits=OWN)
    assert check_split(dataset, split_images(dataset, None, CONFIG)) == [
        "no test images for 'b': its folder has none"
    ]


def test_many_labels_without_a_share_take_one_short_sentence():
    images = many(3, "daisy")
    images += [Image(f"{i:03}/1.jpg", f"{i:03}", 1, 0) for i in range(100)]
    thin = check_split(labelled(images), Splits.of([*SPLITS, *[TRAIN] * 100]))
    assert [text.count("'0") for text in thin] == [20, 20]
    assert all(" and 80 more: too few" in text for text in thin)


def test_near_duplicates_stay_together_with_all_that_is_tied_to_them():
    images = many(300)
    alone = split(images)
    of_training = alone.index(TRAIN)
    tested = [row for row, each in enumerate(alone) if each == TEST][:3]
    digests = np.array(digests_of(images), "S32")
    digests[tested[2]] = digests[tested[1]]  # the same content
    groups = [np.array([of_training, tested[0]]), np.array(tested[:2])]
    found = split_images(labelled(images), digests, CONFIG, groups).tolist()
    assert len({found[row] for row in [of_training, *tested]}) == 1
    others = set(range(300)) - {of_training, *tested}
    assert all(found[row] == alone[row] for row in others)


def test_near_duplicates_stay_together_in_what_is_carved():
    dataset = with_folders(200, "train", "test")
    groups = [np.array([row, 400 + row]) for row in range(50)]  # in the user's test too
    groups += [np.arange(100, 140)]
    found = split_images(dataset, None, CONFIG, groups).tolist()
    assert found[400:] == [TEST] * 400
    assert len(set(found[100:140])) == 1
    without = split_images(dataset, None, CONFIG).tolist()
    assert found[:100] == without[:100]
    assert VALIDATION in found[:100]
