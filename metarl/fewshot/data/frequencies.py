"""How rare the words of texts are."""

import torch
from torch import Tensor


def inverse_document_frequencies(tokens: Tensor, vocabulary: int | None = None) -> Tensor:
    """ln((1 + n) / (1 + df)) + 1 of each token number, `[V]`, from texts `[n, L]`.

    Salton & Buckley 1988, smoothed as in scikit-learn; df is the number of texts with the token.

    Args:
        tokens: of the texts.
        vocabulary: V; None: up to the highest number there is.
    """
    size = int(tokens.max()) + 1 if vocabulary is None else vocabulary
    counts = torch.zeros(size, device=tokens.device)
    for text in tokens.split(1024):  # so that [n, V] never is in memory
        present = torch.zeros(len(text), size, device=tokens.device)
        counts += present.scatter_(1, text, 1.0).sum(dim=0)
    return ((1.0 + len(tokens)) / (1.0 + counts)).log() + 1.0
