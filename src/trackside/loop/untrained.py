"""Parameters that want gradients and that no optimizer holds: they would stay as they are."""

from __future__ import annotations

import logging

from trackside.loop.state import Training

logger = logging.getLogger("trackside")


def report_untrained(training: Training) -> None:
    """Log, once for each, which parameters of the models and of the loss no optimizer trains."""
    setup, reported = training.setup, training.position.reported_untrained
    held = {
        id(p) for one in setup.optimizers for group in one.param_groups for p in group["params"]
    }
    found = [
        name
        for part, module in setup.modules.items()
        for name, parameter in module.named_parameters(prefix=part)
        if parameter.requires_grad and id(parameter) not in held and name not in reported
    ]
    if not found:
        return
    reported.update(found)
    if training.run.world.rank == 0:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        logger.warning(
            "%d parameters want gradients, and no optimizer trains them: %s%s; give them to one "
            "(`optimizer=lambda parameters: SGD([*parameters, *loss.parameters()], lr=...)`), or "
            "freeze them with `requires_grad_(False)`",
            len(found),
            ", ".join(found[:5]),
            more,
        )
