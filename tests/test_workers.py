"""Workers: order, concurrency, errors, and results that no number of threads changes."""

import threading

import pytest
import torch

from metarl.workers import Workers


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_come_in_the_order_of_the_items(threads):
    assert Workers(threads).map(lambda x: x * x, range(10)) == [x * x for x in range(10)]


def test_item_that_finishes_last_still_comes_first():
    second_is_done = threading.Event()

    def wait_or_tell(item: int) -> int:
        if item == 0:
            assert second_is_done.wait(timeout=60)
        else:
            second_is_done.set()
        return item

    # It ends only when both items are at work at the same time.
    assert Workers(2).map(wait_or_tell, [0, 1]) == [0, 1]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_first_error_in_the_order_of_the_items_is_raised(threads):
    def fail(item: int) -> int:
        if item >= 2:
            raise ValueError(f"item {item}")
        return item

    with pytest.raises(ValueError, match="item 2"):
        Workers(threads).map(fail, range(5))


def test_workers_can_be_used_again_after_an_error():
    workers = Workers(2)
    with pytest.raises(ZeroDivisionError):
        workers.map(lambda x: 1 // x, [1, 0])
    assert workers.map(lambda x: x + 1, [1, 2]) == [2, 3]


def test_no_items_give_no_results():
    assert Workers(2).map(lambda x: x, []) == []


def test_gradients_are_the_same_bits_for_any_number_of_threads():
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))

    def gradient(scale: int) -> torch.Tensor:
        leaf = weight.clone().requires_grad_()
        return torch.autograd.grad(torch.tanh(scale * leaf @ leaf).sum(), leaf)[0]

    one, two, three = (torch.stack(Workers(n).map(gradient, range(7))) for n in (1, 2, 3))
    assert torch.equal(one, two)
    assert torch.equal(one, three)


def test_at_least_one_thread_is_needed():
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        Workers(0)
