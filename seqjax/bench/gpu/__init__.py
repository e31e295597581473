"""``./scripts/gpu``: checks and times everything on one GPU, in ten minutes; see docs/gpu.md.

`command` runs one section after the other, each in a process of its own (`child`), and writes
what they find as they find it; `tables` makes Markdown of it. Every section is a module with
``run(dry, emit)``.
"""
