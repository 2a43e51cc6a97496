import pytest

from larq_groupnet.errors import UserError
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
    from larq_groupnet.tasks.task import task

    with pytest.raises(UserError, match="task: expected a subclass of Task under 'none'. Received"):
        task("none")(type("Plain", (), {}))
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
