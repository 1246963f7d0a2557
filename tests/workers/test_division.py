"""Which chunk a worker takes: its own first, then what others are late with."""

import pytest

from poets.errors import StorageError
from poets.features.network import Network
from poets.features.plan import WorkPlan
from poets.features.process import PLAIN, ImageTask, Spec
from poets.storage.tree import Place
from poets.workers import division, folder, progress
from poets.workers.division import Division
from poets.workers.folder import JobFolder
from poets.workers.progress import Progress, read_progress

NETWORK = Network("store", "litert", "model.tflite", 3)
SPEC = Spec("images", (NETWORK,), None, False)


class Clock:
    """Stands still until the test moves it."""

    now_s = 100.0

    def monotonic(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(division, "time", made)
    monkeypatch.setattr(division, "LIST_EVERY_S", 0.0)
    return made


def plan_of(count, size=2):
    chunks = [
        [ImageTask(f"daisy/{n}-{i}.jpg", 9, 7, (PLAIN,), None) for i in range(size)]
        for n in range(count)
    ]
    return WorkPlan.of("9c1fx0", SPEC, 1000, chunks)


class Workers:
    """Workers of one plan that share a store, without processes."""

    def __init__(self, clock, chunks, num_workers):
        self.clock, self.plan, self.parts = clock, plan_of(chunks), []
        self.of = [
            Division(self.plan, me, num_workers, lambda: self.parts)
            for me in range(num_workers)
        ]

    def compute(self, me, seconds=0.0):
        """Has a worker compute a chunk; returns its number, or None."""
        part = self.of[me].take()
        if part is None:
            return None
        self.clock.now_s += seconds
        self.end(me, part)
        return part.number

    def end(self, me, part):
        self.parts.append(f"{part.stem}-0123ab.parquet")
        self.of[me].done(part)


@pytest.fixture
def workers(clock):
    return lambda chunks, count: Workers(clock, chunks, count)


def test_each_takes_its_own_chunks_in_order(workers):
    made = workers(6, 2)
    assert [made.of[0].take().number for _ in range(3)] == [0, 2, 4]
    assert [made.of[1].take().number for _ in range(3)] == [1, 3, 5]
    assert made.of[0].take() is None
    assert made.of[0].taken_over == 0


@pytest.mark.parametrize("num_workers", [1, 2, 3, 7])
def test_workers_of_one_pace_compute_each_chunk_once(workers, num_workers):
    made = workers(20 * num_workers, num_workers)
    computed = []
    while not made.of[0].over:
        taken = [each.take() for each in made.of]
        made.clock.now_s += 10.0
        for me, part in enumerate(taken):
            if part:
                computed.append(part.number)
                made.end(me, part)
        for each in made.of:
            each.refresh()
    assert sorted(computed) == list(range(20 * num_workers))
    assert made.of[0].done_copies == 40 * num_workers
    assert not any(each.taken_over for each in made.of)


def test_who_is_free_helps_a_slow_one_from_the_end_and_leaves_it_what_it_begins_soon(
    workers,
):
    made = workers(40, 2)
    slow = made.of[1].take()
    quick = [made.compute(0, 1.0) for _ in range(5)]
    made.end(1, slow)  # it takes five times as long
    made.of[1].take()
    quick += [made.compute(0, 1.0) for _ in range(15)]
    assert quick == list(range(0, 40, 2))
    helped = [made.compute(0, 1.0) for _ in range(4)]
    assert helped == [39, 37, 35, 33]
    assert made.of[0].taken_over == 4


def test_a_chunk_that_its_owner_has_begun_is_left_to_it_for_some_chunks_time(workers):
    made = workers(2, 2)
    made.of[1].take()
    assert made.compute(0, 4.0) == 0
    made.clock.now_s += 4.0 * division.LATE_CHUNKS - 4.0
    assert made.of[0].take() is None
    made.clock.now_s += 1.0
    assert made.of[0].take().number == 1


def test_the_shard_of_a_dead_worker_is_computed_by_the_others_and_once(workers):
    made = workers(60, 3)
    computed = []
    while not made.of[0].over:
        made.clock.now_s += 1.0
        taken = [made.of[me].take() for me in range(2)]
        for me, part in enumerate(taken):
            if part:
                computed.append(part.number)
                made.end(me, part)
        made.of[0].refresh()
    assert set(computed) == set(range(60))
    assert len(computed) <= 60 + 2


def test_a_short_chunk_is_not_late_at_once(workers, clock):
    made = workers(2, 2)
    made.of[1].take()
    assert made.compute(0, 0.001) == 0
    clock.now_s += 0.9 * division.LATE_S
    assert made.of[0].take() is None
    clock.now_s += 0.2 * division.LATE_S
    assert made.of[0].take().number == 1


def test_what_was_done_before_a_worker_came_says_nothing_of_the_pace(workers, clock):
    made = workers(40, 2)
    made.parts += [f"{made.plan.stem(n)}-0123ab.parquet" for n in range(1, 31, 2)]
    late = Division(made.plan, 0, 2, lambda: made.parts)
    for _ in range(20):
        part = late.take()
        clock.now_s += 0.5
        late.done(part)
    assert late.take().number == 39


def test_rounds_end_when_all_is_done_by_whomever(workers):
    made = workers(4, 2)
    rounds = 0
    for _ in made.of[0].rounds():
        rounds += 1
        made.compute(0)
        made.compute(1)
    assert rounds == 2
    assert made.of[0].over


def test_a_plan_that_is_given_up_ends_the_rounds(clock):
    given_up = []
    part = Division(plan_of(4), 0, 2, list, stopped=lambda: bool(given_up))
    for _ in part.rounds():
        assert part.take()
        given_up.append(True)
    assert part.take() is None


def test_progress_counts_what_is_done_by_whomever(clock):
    counts, parts = [], []
    plan = plan_of(4)
    mine = Division(plan, 0, 2, lambda: parts, advance_all=counts.append)
    mine.done(mine.take())
    parts.append(f"{plan.stem(1)}-0123ab.parquet")
    parts.append(f"{plan.stem(0)}-0123ab.parquet")
    mine.refresh()
    mine.refresh()
    assert counts == [2, 2]


def test_a_plan_is_read_as_it_was_written(tmp_path):
    chunks = [
        [
            ImageTask("ä b/1.jpg", 1, 2, (PLAIN,), None),
            ImageTask("b/2.jpg", 3, 4, (0, 1), "aa", Place(7, 1, 2**40, 3)),
        ],
        [ImageTask("c/3.jpg", 5, 6, (2,), None)],
    ]
    url = str(tmp_path / "plan.parquet")
    WorkPlan.of("9c1fx0", SPEC, 5, chunks).write(url)
    found = WorkPlan.read(url)
    assert (found.name, found.spec, len(found)) == ("9c1fx0", SPEC, 2)
    assert found.copies == [3, 1]
    for number, chunk in enumerate(chunks):
        read = [
            task._replace(copies=tuple(task.copies)) for task in found.chunk(number)
        ]
        assert read == chunk


def test_only_parts_of_the_plan_count():
    plan = plan_of(3)
    names = [
        f"{plan.stem(0)}-0123ab.parquet",
        f"{plan.stem(2)}.done",
        f"{plan.stem(3)}-0123ab.parquet",
        "part-00000000000000001001-0123ab.parquet",
        "part-00000000000000001001-9c1fx1-0123ab.parquet",
    ]
    assert plan.done(names) == [0, 2]


def test_a_file_that_is_no_plan_is_named(tmp_path):
    (tmp_path / "plan.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(
        StorageError, match=r"plan.parquet' is not a plan of this version"
    ):
        WorkPlan.read(str(tmp_path / "plan.parquet"))


def test_progress_names_who_was_not_heard_of_and_who_is_silent(
    tmp_path, clock, monkeypatch
):
    for module in (folder, progress):
        monkeypatch.setattr(module, "time", clock)
    mine = Division(plan_of(8), 0, 4, list)
    shown = Progress(JobFolder(str(tmp_path)), 4, str(tmp_path))
    for worker, plan in ((1, mine.plan.name), (2, "another")):
        record = {"plan": plan, "computed": 7, "taken_over": 1}
        shown._folder.write(f"worker-{worker}.json", record)
    mine.advance(5)
    texts = []
    for _ in range(2):
        clock.now_s += 12.0
        shown.report(mine)
        texts.append(read_progress(str(tmp_path))["workers"])
    assert texts == [
        "0: 5, 1: 7 with 1 chunk of others, 2: 0, 3: not heard from",
        "0: 5, 1: 7 with 1 chunk of others, silent for 12 s, 2: 0, silent for 12 s, "
        "3: not heard from",
    ]
