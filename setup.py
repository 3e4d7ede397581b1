"""Says which folders are packages: those under mbp/, and three top-level ones mapped into it."""

from setuptools import find_namespace_packages, find_packages, setup

MAPPED = {"mbp.rules": "rules", "mbp.templates": "templates", "mbp.generated": "generated"}
TARGETS = find_namespace_packages("generated", exclude=["*__pycache__*"])

setup(
    packages=[
        *find_packages(include=["mbp", "mbp.*"]),
        *MAPPED,
        *(f"mbp.generated.{target}" for target in TARGETS),
    ],
    package_dir=MAPPED,
)
