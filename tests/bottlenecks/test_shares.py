"""Which chunk a worker takes: its own first, then what is in nobody's hand."""

import pytest

from poets.bottlenecks import rendezvous, shares
from poets.bottlenecks.plan import Plan
from poets.bottlenecks.process import PLAIN, Spec, Task
from poets.bottlenecks.rendezvous import Board, Watch, worker_file
from poets.bottlenecks.shares import Patience, Share
from poets.errors import StorageError

SPEC = Spec("images", "store", "litert", "model.tflite", None, False)


class Clock:
    """Stands still until the test moves it."""

    now_s = 0.0

    def monotonic(self):
        return self.now_s


def plan_of(count, size=2):
    chunks = [
        [Task(f"daisy/{n}-{i}.jpg", 9, 7, (PLAIN,), None) for i in range(size)]
        for n in range(count)
    ]
    return Plan.of("9c1fx0", SPEC, 1000, chunks)


class Workers:
    """Workers of one plan that share a folder, without processes."""

    def __init__(self, folder, chunks, num_workers, **more):
        self.plan, self.board = plan_of(chunks), Board(str(folder))
        self.parts: list[str] = []
        self.shares = [
            Share(
                *(self.plan, me, num_workers, self.board),
                part_names=lambda: self.parts,
                post=lambda me=me: self.post(me),
                **more,
            )
            for me in range(num_workers)
        ]

    def post(self, me):
        record = {"plan": self.plan.name, "hand": self.shares[me].hand}
        self.board.post(worker_file(me), record)

    def end(self, me, part):
        self.parts.append(f"{part.stem}-0123ab.parquet")
        self.shares[me].done(part)
        self.post(me)


@pytest.fixture
def workers(tmp_path):
    return lambda chunks, count, **more: Workers(tmp_path, chunks, count, **more)


@pytest.fixture(autouse=True)
def _always_looks(monkeypatch):
    monkeypatch.setattr(shares, "LOOKING_SHARE", 0)
    monkeypatch.setattr(shares, "LOOK_S", 0.0)


def test_each_takes_its_own_chunks_in_order(workers):
    made = workers(6, 2)
    assert [made.shares[0].take().number for _ in range(3)] == [0, 2, 4]
    assert [made.shares[1].take().number for _ in range(3)] == [1, 3, 5]
    assert made.shares[0].take() is None
    assert made.shares[0].taken_over == 0


def test_who_is_free_takes_others_chunks_from_their_end_and_none_twice(workers):
    made = workers(8, 2)
    mine = [made.shares[0].take().number for _ in range(4)]
    others = [made.shares[0].take().number for _ in range(3)]
    assert (mine, others) == ([0, 2, 4, 6], [7, 5, 3])
    assert made.shares[0].taken_over == 3
    assert made.shares[1].take().number == 1
    assert made.shares[1].take() is None


@pytest.mark.parametrize("num_workers", [1, 2, 3, 7])
def test_all_chunks_are_done_by_any_number_of_workers(workers, num_workers):
    made = workers(20, num_workers)
    taken = []
    while not made.shares[0].over:
        for me, share in enumerate(made.shares):
            if part := share.take():
                taken.append(part.number)
                made.end(me, part)
        made.shares[0].look()
    assert sorted(taken) == list(range(20))
    assert made.shares[0].done_copies == 40


def test_a_chunk_that_stays_in_a_hand_for_too_long_is_taken_over(
    workers, monkeypatch, wait_until
):
    made = workers(2, 2, patience=Patience(least_s=0.3))
    monkeypatch.setattr(shares, "PATIENCE_CHUNKS", 0.0)
    dead, free = made.shares[1], made.shares[0]
    assert dead.take().number == 1
    made.end(0, free.take())
    assert free.take() is None
    assert free.holders == [1]
    wait_until(lambda: (part := free.take()) and part.number == 1, timeout_s=10)


def test_who_says_it_is_alive_is_waited_for_and_who_is_silent_is_not(
    workers, monkeypatch
):
    clock = Clock()
    monkeypatch.setattr(rendezvous, "time", clock)
    made = workers(2, 2, patience=Patience(least_s=60.0, silent_s=0.3))
    other, free = made.shares[1], made.shares[0]
    part = other.take()
    made.end(0, free.take())
    record = {"plan": made.plan.name, "hand": other.hand}
    for beat in range(10):
        made.board.post(worker_file(1), record | {"beat": beat})
        assert free.take() is None
        clock.now_s += 0.2
    assert free.left == [part.number]
    clock.now_s += 0.2
    assert free.take() == part


def test_rounds_end_when_all_is_done_by_whomever(workers):
    made = workers(4, 2)
    mine, other = made.shares
    rounds = 0
    for _ in mine.rounds():
        rounds += 1
        made.end(0, mine.take())
        made.end(1, other.take())
    assert rounds == 2
    assert mine.over
    assert mine.left == []


def test_what_the_last_process_of_a_worker_had_in_hand_is_free_at_once(workers):
    made = workers(2, 2)
    assert made.shares[1].take().number == 1
    made.end(0, made.shares[0].take())
    made.board.post(worker_file(1), {"process": "new", "beat": 1})
    assert made.shares[0].take().number == 1


def test_hands_of_another_plan_hold_nothing(workers):
    made = workers(2, 2)
    made.board.post(worker_file(1), {"plan": "another", "hand": [1]})
    made.end(0, made.shares[0].take())
    assert made.shares[0].take().number == 1


@pytest.mark.parametrize("text", ["", "[]", "{", '{"plan": "9c1fx0", "hand": 3}'])
def test_a_file_that_cannot_be_read_holds_nothing(workers, tmp_path, text):
    made = workers(2, 2)
    (tmp_path / worker_file(1)).write_text(text)
    made.end(0, made.shares[0].take())
    assert made.shares[0].take().number == 1


def test_a_plan_is_read_as_it_was_written(tmp_path):
    chunks = [
        [Task("ä b/1.jpg", 1, 2, (PLAIN,), None), Task("b/2.jpg", 3, 4, (0, 1), "aa")],
        [Task("c/3.jpg", 5, 6, (2,), None)],
    ]
    url = str(tmp_path / "plan.parquet")
    Plan.of("9c1fx0", SPEC, 5, chunks).write(url)
    found = Plan.read(url)
    assert (found.name, found.spec, len(found)) == ("9c1fx0", SPEC, 2)
    assert found.copies == [3, 1]
    for number, chunk in enumerate(chunks):
        read = [
            task._replace(copies=tuple(task.copies)) for task in found.chunk(number)
        ]
        assert read == chunk


def test_only_parts_of_the_plan_count(tmp_path):
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
    with pytest.raises(StorageError, match=r"plan.parquet' is no plan of this version"):
        Plan.read(str(tmp_path / "plan.parquet"))


def test_a_watch_counts_changes_and_not_its_first_sight():
    watch = Watch()
    watch.see({"beat": 1})
    watch.see({"beat": 1})
    assert watch.changes == 0
    assert watch.see({"beat": 2}) == 0
    assert watch.changes == 1
