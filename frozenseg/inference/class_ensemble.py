"""Open-vocabulary classification: the decoder and CLIP share the decision.

Legend: B images, Q queries, C classes (void not counted), C1 = C + 1 (void last).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# Stands for infinite logits: log-probabilities must be finite, an exponent of 0 times -inf is NaN.
_FINITE = 1e30
# Added to the returned probabilities, as in the released models. At 2**20 times their size: the sum
# is the same bit for bit, while ONNX optimizers take a term of up to 1e-8 for 0.
_FLOOR, _SCALE = 1e-8, 2.0**20


def ensemble_classes(
    in_logits_BQC1: Tensor,
    out_logits_BQC: Tensor | None,
    seen_C: Tensor | None = None,
    *,
    alpha: float = 0.4,
    beta: float = 0.8,
    valid_BQ: Tensor | None = None,
    void_trust: float = 0.0,
) -> Tensor:
    """Final class log-probabilities of every query, void last.

    A class seen in training gets p_in^(1-alpha) * p_out^alpha, another one
    p_in^(1-beta) * p_out^beta; these are normalised over the classes and multiplied by
    (1 - p_void). Everything is computed from logits, so that no probability underflows.
    Exponents of 1 leave the choice of the class to CLIP (MAFT+). With `void_trust` w, a CLIP that
    is sure of a class lowers p_void to p_void * (1 - w * max p_out) (COAT).

    Args:
        in_logits_BQC1: the decoder's class logits (B, Q, C + 1), last column void.
        out_logits_BQC: CLIP's own class logits (B, Q, C); None: the decoder decides alone.
        seen_C: bool (C,), True where a class was seen in training; needed with `out_logits_BQC`.
        alpha, beta: exponents of CLIP's probability for seen and for unseen classes, in [0, 1].
        valid_BQ: bool (B, Q); where False the decoder decides alone (exponents 0), whatever
            `out_logits_BQC` holds there, NaN included (ENSEMBLE_ON_VALID_MASK).
        void_trust: w in [0, 1].

    Returns: float32 (B, Q, C + 1), log(p + 1e-8); without CLIP the decoder's log-softmax.

    Raises: ValueError for shapes that do not fit or exponents outside [0, 1].
    Source: FC-CLIP, arXiv:2308.02487, section 3.3; void_trust: OVRCOAT,
    arXiv:2603.21386.
    """
    in_logits_BQC1 = in_logits_BQC1.float().clamp(-_FINITE, _FINITE)
    if out_logits_BQC is None:
        return in_logits_BQC1.log_softmax(-1)
    _check(
        in_logits_BQC1,
        out_logits_BQC,
        seen_C,
        {"alpha": alpha, "beta": beta, "void_trust": void_trust},
    )
    assert seen_C is not None
    weight_C = torch.where(seen_C.to(in_logits_BQC1.device), alpha, beta).float()
    out_logits_BQC = out_logits_BQC.float()
    weight_BQC = weight_C.expand(out_logits_BQC.shape)
    if valid_BQ is not None:
        weight_BQC = weight_BQC * valid_BQ[..., None]
        out_logits_BQC = out_logits_BQC.masked_fill(~valid_BQ[..., None], 0.0)
    in_log_BQC = in_logits_BQC1[..., :-1].log_softmax(-1)
    out_log_BQC = out_logits_BQC.clamp(-_FINITE, _FINITE).log_softmax(-1)
    classes_BQC = torch.lerp(in_log_BQC, out_log_BQC, weight_BQC).softmax(-1)
    void_BQ1 = in_logits_BQC1.softmax(-1)[..., -1:]
    if void_trust:
        sure_BQ1 = out_log_BQC.amax(-1, keepdim=True).exp()
        if valid_BQ is not None:
            sure_BQ1 = sure_BQ1 * valid_BQ[..., None]
        void_BQ1 = void_BQ1 * (1.0 - void_trust * sure_BQ1)
    probs_BQC1 = torch.cat([classes_BQC * (1.0 - void_BQ1), void_BQ1], -1)
    return probs_BQC1.mul_(_SCALE).add_(_FLOOR * _SCALE).div_(_SCALE).log_()


def _check(
    in_logits: Tensor, out_logits: Tensor, seen: Tensor | None, shares: Mapping[str, float]
) -> None:
    classes = in_logits.shape[-1] - 1
    if out_logits.shape != (*in_logits.shape[:-1], classes):
        raise ValueError(
            f"CLIP's class logits have the shape {tuple(out_logits.shape)}, expected "
            f"{(*in_logits.shape[:-1], classes)}: the decoder's without the void column"
        )
    if seen is None or seen.shape != (classes,) or seen.dtype != torch.bool:
        found = None if seen is None else (tuple(seen.shape), seen.dtype)
        raise ValueError(f"seen_C is {found}: pass one bool for each of the {classes} classes")
    if not all(0.0 <= share <= 1.0 for share in shares.values()):
        given = ", ".join(f"{name} = {share}" for name, share in shares.items())
        raise ValueError(f"{given}: the exponents of the ensemble and void_trust lie in [0, 1]")
