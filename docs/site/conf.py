"""The site: every page that the repository has, as it stands, with a reference beside them."""

from __future__ import annotations

from importlib import metadata

project = "Trackside"
author = "The Trackside authors"
copyright = author  # noqa: A001 - Sphinx calls it so
release = metadata.version("trackside")
html_title = f"Trackside {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "examples/*.md"]
exclude_patterns = ["docs/site/**"]

# Headings get the anchors that links between the pages use.
myst_heading_anchors = 4
default_role = "code"  # docstrings write names as Markdown does
myst_enable_extensions = ["colon_fence"]

html_theme = "furo"
html_additional_pages = {"index": "front.html"}
templates_path = ["templates"]
html_show_sphinx = False
html_copy_source = False
html_show_search_summary = False  # fetched from the pages found, which a browser refuses on a disk

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
