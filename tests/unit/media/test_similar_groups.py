"""What is alike: clusters that stay as they are, and new ones of what is left over."""

import numpy as np

from media.analysis.similar_groups import group
from media.content.cluster_labels import colour_name, label_of

NEARNESS = 0.9


def near(direction: int, turn: float = 0.0) -> str:
    """A vector of length one along an axis, turned a little."""
    vector = np.zeros(8)
    vector[direction], vector[(direction + 1) % 8] = np.cos(turn), np.sin(turn)
    return "[" + ",".join(f"{value:.6g}" for value in vector) + "]"


def test_what_is_alike_is_one_cluster_and_what_is_alone_is_none() -> None:
    found = group([near(0), near(3), near(0, 0.2), near(3, 0.1), near(6)], {}, NEARNESS)
    assert sorted(found.new) == [[0, 2], [1, 3]]
    assert found.joined == {}


def test_an_item_joins_the_cluster_that_is_there() -> None:
    found = group([near(0, 0.1), near(5), near(5, 0.1)], {"cls_a": near(0), "cls_b": near(3)}, NEARNESS)
    assert found.joined == {0: "cls_a"}
    assert found.new == [[1, 2]]


def test_nothing_and_one_alone_are_no_clusters() -> None:
    assert group([], {"cls_a": near(0)}, NEARNESS).joined == {}
    assert group([near(1)], {}, NEARNESS).new == []


def test_a_label_is_what_most_pictures_show_or_their_colour() -> None:
    grey = {"colour": [120, 120, 120]}
    shows = [{**grey, "names": [["seashore", 0.6]]}, {**grey, "names": [["seashore", 0.3], ["pier", 0.4]]}]
    assert label_of("shot", shows, 1) == "seashore"
    assert label_of("shot", [{**grey, "names": [["pier", 0.1]]}], 1) == "grey pictures"
    assert label_of("face", [{}], 4) == "face 4"


def test_colours_have_names() -> None:
    named = {colour_name(each) for each in ([200, 30, 30], [20, 30, 90], [220, 240, 220], [10, 10, 10])}
    assert named == {"red", "dark blue", "light green", "dark grey"}
