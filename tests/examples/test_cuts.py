"""Scenes, segmentation, covering and the rank monitor of the normalized-cuts examples."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from examples.cuts.monitor import alignment
from examples.cuts.mosaics import LEFT, RIGHT, SIZE, TEXTURES, mosaics, photograph
from examples.cuts.network import inferred, learn, segmenter
from examples.cuts.pictures import painted
from examples.cuts.scenes import Scene, enlarged, on_grid
from examples.cuts.segmentation import (
    Segmentation,
    best_scale_for_all,
    best_scale_for_each,
    covering,
    normalized_cuts,
    overlaps,
    spectral_embedding,
)
from examples.ncuts_nuclei.data import crops
from examples.training import Recipe
from mbp.generated.ncuts_j2 import ncuts_j2

labellings = arrays(np.int64, (5, 5), elements=st.integers(0, 3))


def halves() -> Scene:
    regions = np.zeros((32, 32), np.int64)
    regions[:, 16:] = 1
    return Scene(torch.from_numpy(regions).float()[None], regions, regions)


@settings(max_examples=60, deadline=None)
@given(labellings, labellings, st.permutations(range(4)))
def test_covering_is_its_definition_and_ignores_names(truth, segments, names) -> None:
    pixels = [(i, j) for i in range(5) for j in range(5)]
    regions = [{p for p in pixels if truth[p] == label} for label in set(truth.flat)]
    found = [{p for p in pixels if segments[p] == label} for label in set(segments.flat)]
    best = [len(R) * max(len(R & S) / len(R | S) for S in found) for R in regions]
    assert covering(truth, segments) == pytest.approx(sum(best) / 25)
    assert covering(truth, np.array(names)[segments]) == pytest.approx(sum(best) / 25)
    assert covering(truth, truth) == 1
    assert overlaps(truth, segments).sum() == 25


def test_features_that_tell_the_regions_apart_are_cut_along_them() -> None:
    scene = halves()
    rng = np.random.default_rng(0)
    F = scene.partition.numpy() @ [[1.0, 0.1, 0.4], [0.1, 1.0, 0.6]] + rng.uniform(0, 0.05, (64, 3))
    for cut in normalized_cuts(F, [2]):
        assert covering(scene.segments, enlarged(cut)) == 1


def test_the_embedding_solves_the_relaxed_cut() -> None:
    F = np.random.default_rng(0).uniform(size=(30, 4))
    W = F @ F.T
    X, degrees = spectral_embedding(F)
    np.testing.assert_allclose(degrees, W.sum(1))
    values = np.sort(np.linalg.eigvals(W / W.sum(1)[:, None]).real)[:-5:-1]
    np.testing.assert_allclose(W @ X, degrees[:, None] * X * values)  # W x = λ D x


def test_features_that_are_all_zero_are_one_segment() -> None:
    assert all(len(np.unique(cut)) == 1 for cut in normalized_cuts(np.zeros((64, 3))))


def test_one_scale_for_all_covers_no_more_than_one_for_each() -> None:
    found = [Segmentation([], [0.2, 0.9]), Segmentation([], [0.7, 0.3])]
    assert best_scale_for_each(found) == pytest.approx(0.8)
    assert best_scale_for_all(found) == pytest.approx(0.6)


@pytest.mark.parametrize("half", [LEFT, RIGHT])
def test_mosaics_show_textures_of_their_half_alone(half: slice) -> None:
    made = mosaics(4, half, np.random.default_rng(0))
    for mosaic in made:
        assert mosaic.image.shape == (1, SIZE, SIZE)
        assert len(mosaic.textures.unique()) == len(np.unique(mosaic.regions))
        for region, texture in enumerate(mosaic.textures):
            shown = np.unique(mosaic.image[0].numpy()[mosaic.regions == region])
            source = photograph(TEXTURES[texture])[:, half].astype(np.float32)
            assert np.isin(shown, source).all()


def test_nuclei_are_cut_from_the_columns_asked_for() -> None:
    made = crops(3, RIGHT, np.random.default_rng(0))
    for scene in made:
        assert scene.regions.max() == 1
        np.testing.assert_array_equal(scene.regions == 1, scene.segments > 0)
        assert (scene.partition.sum(0) > 0).all()


def test_a_partition_has_one_entry_in_each_row() -> None:
    scene = halves()
    assert scene.partition.shape == (64, 2)
    assert (scene.partition.sum(1) == 1).all()
    np.testing.assert_array_equal(enlarged(on_grid(scene.regions)), scene.regions)


@pytest.mark.parametrize("rank", [2, 5])
def test_the_objective_is_half_the_ranks_difference_and_the_deficit(rank: int) -> None:
    torch.manual_seed(0)
    E = halves().partition
    F = torch.rand(64, rank, dtype=torch.float64) @ torch.rand(rank, 5, dtype=torch.float64)
    found = alignment(F, E)
    J2 = ncuts_j2(F, torch.eye(5, dtype=torch.float64), E).item()
    assert found.rank == rank
    assert pytest.approx((rank - 2) / 2 + found.deficit) == J2
    assert 1 <= found.entropy_rank <= rank
    assert alignment(torch.cat([F, E], 1), E).deficit == pytest.approx(0)


def test_segments_are_painted_in_their_regions_colour() -> None:
    scene = halves()
    left, right = (painted(scene, scene.segments)[5, column] for column in (2, 30))
    assert left.argmax() != right.argmax()


@pytest.mark.parametrize("objective", ["J1", "J2"])
def test_training_through_a_cut_moves_the_features(objective: str) -> None:
    torch.manual_seed(0)
    model = segmenter(objective)
    scenes = mosaics(2, LEFT, np.random.default_rng(0))
    before = inferred(model, scenes)
    assert all(step.finite for step in learn(model, scenes, Recipe(2, 2, 1e-3, 1.0)))
    assert before.min() >= 0
    assert not before.equal(inferred(model, scenes))
