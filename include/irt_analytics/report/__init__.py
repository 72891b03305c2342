"""The weekly report: what it says, how it looks, what renders it, and where it goes.

A `Document` is computed from `Facts` in plain Python; a template writes it as Quarto Markdown; an engine renders that
to HTML and PDF; the store takes the files. Nothing here reads the database.
"""
