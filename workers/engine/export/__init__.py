"""Exports of a package in other formats, each loaded again and compared before it counts."""
