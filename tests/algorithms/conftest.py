import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def one_torch_thread():
    """As in a run, where parallelism is over tasks."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
