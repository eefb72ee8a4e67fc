"""Every example in a docstring of streamkl runs; modules are found by listing the package."""

import doctest
import importlib
import pkgutil

import pytest

import streamkl

MODULES = ["streamkl", *sorted(m.name for m in pkgutil.walk_packages(streamkl.__path__, "streamkl.") if not m.name.endswith(".__main__"))]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_print_what_they_say(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    examples = [t for name in MODULES for t in finder.find(importlib.import_module(name)) if t.examples]
    assert len(examples) >= 10
