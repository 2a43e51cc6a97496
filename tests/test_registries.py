import pytest

from larq_groupnet import GroupNetConfig
from larq_groupnet.errors import ConfigError, UserError
from larq_groupnet.network.complexity import complexity
from larq_groupnet.network.kinds import (
    DECOMPOSITIONS,
    HEADS,
    LAYOUTS,
    Conv,
    decomposition,
    layout,
)
from larq_groupnet.network.kinds import (
    head as head_of,
)
from larq_groupnet.registries import Registry


@pytest.fixture
def head():
    registry = Registry("head")

    @registry("fcn32s")
    def fcn32s():
        return 32

    registry.add("classifier", lambda: 0)
    return registry


def test_registry_is_a_mapping_in_order_of_registration(head):
    assert list(head) == ["fcn32s", "classifier"]
    assert head.choices == ["classifier", "fcn32s"]
    assert head["fcn32s"]() == head.find("fcn32s")() == 32
    assert "fcn32s" in head and "fcn16s" not in head and head.get("fcn16s") is None


def test_unknown_name_lists_choices_and_names_the_nearest(head):
    with pytest.raises(UserError, match="head: ") as caught:
        head.find("fcn32")
    assert str(caught.value) == (
        "head: expected one of 'classifier', 'fcn32s'. Received: head='fcn32'. "
        "Did you mean 'fcn32s'?"
    )


@pytest.mark.parametrize("name", [None, 3, ["fcn32s"]])
def test_name_of_another_type_is_refused(head, name):
    with pytest.raises(UserError, match="expected one of"):
        head.find(name)


def test_second_thing_of_a_name_is_refused_and_the_first_stays(head):
    first = head["fcn32s"]
    with pytest.raises(UserError, match=r"'fcn32s', which is registered for .*\.fcn32s"):
        head.add("fcn32s", dict)
    assert head["fcn32s"] is first


def test_same_definition_again_replaces_the_older(head):
    def define():
        def cell():
            pass

        return cell

    older, newer = define(), define()
    head.add("cell", older)
    assert head.add("cell", newer) is head["cell"] is newer


def test_error_is_the_one_that_was_asked_for():
    class OwnError(UserError):
        pass

    with pytest.raises(OwnError, match="none yet"):
        Registry("loss", OwnError).find("mse")


@pytest.mark.parametrize("second", [(2, 1), lambda: 1])
def test_another_value_of_a_name_is_refused(second):
    registry = Registry("layout")
    registry.add("small", (1, 1))
    registry.add("small", (1, 1))
    with pytest.raises(UserError, match=r"registered for \(1, 1\)"):
        registry.add("small", second)


def in_a_notebook(function):
    function.__module__ = "__main__"
    return function


def test_cell_that_renames_its_function_replaces_the_older_but_nothing_of_a_module(head):
    def cell():
        pass

    newer = in_a_notebook(lambda: 2)
    head.add("cell", in_a_notebook(cell))
    assert head.add("cell", newer) is head["cell"] is newer
    with pytest.raises(UserError, match="'fcn32s', which is registered for .*fcn32s"):
        head.add("fcn32s", newer)


def test_decorator_without_a_name_is_refused(head):
    from larq_groupnet.data.augment import augmentation
    from larq_groupnet.network.kinds import decomposition

    for decorator in (head, augmentation, decomposition):
        with pytest.raises(UserError, match=r"expected a name, as in @.*\(NAME\). Received: <func"):
            decorator(in_a_notebook)


def test_task_is_a_subclass_of_task():
    from larq_groupnet.tasks.task import Task, task

    for kind in (
        type("Plain", (), {}),
        type("NoHeadline", (Task,), {"targets": ("depth",)}),
        type("NoTuple", (Task,), {"targets": "depth", "headline": "within"}),
        Task(2),
    ):
        with pytest.raises(UserError, match="a subclass of Task with a tuple of .* under 'none'"):
            task("none")(kind)
    assert "none" not in task


def test_function_of_a_dataset_returns_one():
    from larq_groupnet.data import dataset
    from larq_groupnet.data.pipeline import open_dataset

    dataset.add("pair", lambda: ([], []))
    try:
        with pytest.raises(UserError, match="a Dataset, .* function of pair. Received: tuple"):
            open_dataset("pair", "data")
    finally:
        dataset.remove("pair")


BLOCKS = (1, 1, 1, 1)


def two(filters, stride):
    return [Conv(filters, 3, stride), Conv(filters, 3)]


def none(*arguments):
    return None


def registered(kind):
    """A decorator of each kind, which takes a name."""
    from larq_groupnet.data import dataset
    from larq_groupnet.data.augment import augmentation
    from larq_groupnet.family import model
    from larq_groupnet.tasks.losses import loss

    return {
        "layout": lambda name: layout(name, blocks=BLOCKS),
        "decomposition": decomposition,
        "head": lambda name: head_of(name, task="segmentation"),
        "model": lambda name: model(name, fixed={}),
        "loss": loss,
        "dataset": dataset,
        "augmentation": augmentation,
    }[kind]


@pytest.mark.parametrize(
    "kind", ["layout", "decomposition", "head", "model", "loss", "dataset", "augmentation"]
)
def test_name_is_not_empty_and_what_it_names_is_called(kind):
    with pytest.raises(UserError, match=rf"{kind}: expected a name, as in @{kind}\(NAME\)"):
        registered(kind)("")
    with pytest.raises(UserError, match=rf"{kind}: expected a function under 'mine'. Received: 5"):
        registered(kind)("mine")(5)


@pytest.mark.parametrize(
    "sizes", [{"blocks": 3}, {"blocks": (1, 0, 1, 1)}, {"blocks": BLOCKS, "channels": (8.0,) * 4}]
)
def test_layout_has_integers_of_stages(sizes):
    with pytest.raises(ConfigError, match="layout: expected blocks and channels as integers of"):
        layout("mine", **sizes)(two)


@pytest.mark.parametrize(
    "register", [decomposition, lambda name, uses: head_of(name, task="segmentation", uses=uses)]
)
def test_uses_are_options_that_not_every_network_has(register):
    for uses in ("relu", 5):
        with pytest.raises(ConfigError, match=r"'mine': expected uses as a tuple of options, such"):
            register("mine", uses=uses)
    registry = DECOMPOSITIONS if register is decomposition else HEADS
    register("mine", uses=("reul",))(none)
    try:
        with pytest.raises(ConfigError, match="uses: expected options .* Did you mean 'relu'"):
            GroupNetConfig(**{registry.kind: "mine"})
    finally:
        registry.remove("mine")


@pytest.mark.parametrize(
    ("registry", "register", "function", "expected"),
    [
        (LAYOUTS, registered("layout"), lambda f, s: [(f, 3, s)], "a list of Conv of positive"),
        (LAYOUTS, registered("layout"), lambda f, s: [Conv(f / 2, 3, s)], "a list of Conv of"),
        (LAYOUTS, registered("layout"), lambda f, s: [Conv(f, 3)], "whose strides multiply to 2"),
        (LAYOUTS, registered("layout"), none, "a list of Conv"),
        (DECOMPOSITIONS, decomposition, lambda ops, x: x, r"yield \(stage, aggregate\)"),
        (DECOMPOSITIONS, decomposition, lambda ops, x: [(0, x)], "stage 3 last"),
        (DECOMPOSITIONS, decomposition, none, r"yield \(stage, aggregate\)"),
        (HEADS, registered("head"), none, "return its output"),
    ],
)
def test_function_that_gives_something_else_is_named(registry, register, function, expected):
    register("mine")(function)
    try:
        with pytest.raises(ConfigError, match=f"{registry.kind}: expected 'mine' to .*{expected}"):
            complexity(GroupNetConfig(**{registry.kind: "mine"}))
    finally:
        registry.remove("mine")


def test_model_has_options_of_a_network_each_once():
    from larq_groupnet.family import model

    for options in ({"fixed": {"layut": "resnet18"}}, {"fixed": {}, "num_base": 3}):
        with pytest.raises(UserError, match="model: expected options of .* Did you mean"):
            model("mine", **options)
    with pytest.raises(ConfigError, match="relu: expected one value under 'mine', fixed or a"):
        model("mine", fixed={"relu": True}, relu=False)
    with pytest.raises(ConfigError, match="fixed: expected options of GroupNetConfig and their"):
        model("mine", fixed=None)


def test_targets_of_an_augmentation_are_a_tuple():
    from larq_groupnet.data.augment import augmentation

    with pytest.raises(UserError, match="augmentation: expected targets as a tuple of names"):
        augmentation("mine", targets="mask")


@pytest.mark.parametrize(
    "function", [lambda image: image, lambda image, target, size, seed, *, colour_jiter=1: image]
)
def test_arguments_of_an_augmentation_are_what_it_is_given(function):
    from larq_groupnet.data.augment import augmentation

    said = "expected a function of image, target, size and seed, with keyword arguments"
    with pytest.raises(UserError, match=said):
        augmentation("mine")(function)


@pytest.mark.parametrize(
    ("function", "name", "expected"),
    [
        (lambda need: None, "mine", "expected need=VALUE after the question mark"),
        (lambda **options: None, "mine?a=1", "expected no option after the question mark"),
        (lambda side="8": None, "mine:here", "expected mine without a place"),
        (lambda: None, 3, "expected a name, such as folder:PATH. Received: 3"),
    ],
)
def test_dataset_is_opened_by_what_its_function_takes(function, name, expected):
    from larq_groupnet.data import dataset
    from larq_groupnet.data.opening import open_dataset

    dataset.add("mine", function)
    try:
        with pytest.raises(UserError, match=f"dataset: {expected}"):
            open_dataset(name, "data")
    finally:
        dataset.remove("mine")


def test_name_of_a_dataset_ends_before_its_place_and_options():
    from larq_groupnet.data import dataset

    for name in ("a:b", "a?b"):
        with pytest.raises(UserError, match="dataset: expected a name without : or [?]"):
            dataset(name)
