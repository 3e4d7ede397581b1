"""The examples' training loop."""

import torch
from torch import nn

from examples.training import Recipe, fit, shuffled


def test_an_epoch_draws_every_index_once() -> None:
    batches = shuffled(12, 4, seed=0)
    epochs = [torch.cat([next(batches) for _ in range(3)]) for _ in range(2)]
    assert all(sorted(epoch.tolist()) == list(range(12)) for epoch in epochs)
    assert not epochs[0].equal(epochs[1])


def test_a_step_without_finite_gradient_changes_nothing() -> None:
    net = nn.Linear(3, 1)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    history = fit(
        net, lambda batch: net(torch.ones(1, 3)).sum() * float("inf"), 4, Recipe(2, 2, 0.1, 1.0)
    )
    assert [step.finite for step in history] == [False, False]
    assert all(map(torch.equal, before, net.parameters()))


def test_training_lowers_a_loss_and_leaves_frozen_parameters() -> None:
    torch.manual_seed(0)
    X = torch.randn(20, 3)
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    net[0].requires_grad_(False)
    frozen = net[0].weight.clone()
    history = fit(net, lambda b: (net(X[b]) - X[b].sum(1, True)).square().mean(), 20,
                  Recipe(300, 5, 0.1, 10.0))
    assert history[-1].loss < 0.2 * history[0].loss
    assert frozen.equal(net[0].weight)
