"""Puts ``configs/`` into the wheel as ``erprm/configs``, which pyproject.toml cannot say; all else stands there."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["erprm*"]), "erprm.configs"],
    package_dir={"erprm.configs": "configs"},
)
