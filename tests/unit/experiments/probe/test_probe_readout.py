"""Linear read-outs find what is linear, say how much of it, and do not find what is not there."""

import torch

from theworld.experiments.probe.probe import LinearReadout, classify, explained


def test_a_linear_quantity_is_read_from_more_numbers_than_items():
    torch.manual_seed(0)
    hidden = torch.randn(300, 2)
    features = hidden @ torch.randn(2, 1000) + 0.1 * torch.randn(300, 1000)
    targets = hidden @ torch.tensor([[1.0, 0.5], [-2.0, 1.0]]) + 3

    read = LinearReadout(features[:200], targets[:200])(features[200:])

    assert explained(targets[200:], read) > 0.98


def test_nothing_is_read_from_noise():
    torch.manual_seed(0)
    features, targets = torch.randn(300, 400), torch.randn(300, 1)

    read = LinearReadout(features[:200], targets[:200])(features[200:])

    assert -0.2 < explained(targets[200:], read) < 0.1


def test_classes_are_told_apart_where_they_are_linear():
    torch.manual_seed(0)
    labels = torch.arange(300) % 3
    features = torch.nn.functional.one_hot(labels).float() @ torch.randn(3, 50) + 0.5 * torch.randn(300, 50)

    assert (classify(features[:200], labels[:200], features[200:]) == labels[200:]).float().mean() > 0.95


def test_a_number_that_never_changes_is_no_obstacle():
    features = torch.cat([torch.arange(20.0)[:, None], torch.full((20, 1), 7.0)], dim=1)
    targets = 2 * torch.arange(20.0)[:, None]

    read = LinearReadout(features, targets)(torch.tensor([[30.0, 7.0]]))

    assert abs(read.item() - 60) < 1


def test_the_mean_explains_nothing():
    truth = torch.tensor([[1.0], [2.0], [3.0]])

    assert explained(truth, truth.double()) == 1.0
    assert explained(truth, torch.full((3, 1), 2.0).double()) == 0.0
