"""What this machine means for serving language models, as a section of the report with an evaluator in the page."""

from bench.report.serving.section import SCRIPTS, STYLE, Section, section

__all__ = ("SCRIPTS", "STYLE", "Section", "section")
