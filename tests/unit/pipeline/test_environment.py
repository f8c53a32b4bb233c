import pytest

from pipeline.environment import is_setting, unknown_variables


@pytest.mark.parametrize(
    ("variable", "known"),
    [
        ("GROUNDSWELL_HOME", True),
        ("GROUNDSWELL_STACK__KAFKA_PORT", True),
        ("groundswell_stack__kafka_port", True),
        ("GROUNDSWELL_NOTIFY__ENDPOINTS", True),
        ("GROUNDSWELL_STACK", True),
        ("GROUNDSWELL_KAFKA__BOOTSTRAP__X", False),
        ("GROUNDSWELL_NOWHERE__X", False),
    ],
)
def test_which_variables_are_settings(variable: str, known: bool) -> None:
    assert is_setting(variable) is known


def test_variables_that_look_like_settings_and_are_none_are_told_but_not_what_marks_a_process() -> None:
    marks = {"GROUNDSWELL_STACK_PROCESS": "x", "GROUNDSWELL_STACK_LOG": "x.log"}
    environ = {"GROUNDSWELL_WORKR__GROUP": "x", "GROUNDSWELL_LOGLEVEL": "DEBUG", "PATH": ""} | marks
    assert unknown_variables(environ) == ["GROUNDSWELL_LOGLEVEL", "GROUNDSWELL_WORKR__GROUP"]
