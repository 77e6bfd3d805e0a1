"""The Python side of cvbench: the nouns and verbs of the command line as functions and objects.

`import cvbench` has all public names; nothing of this folder is imported before one is used.
"""
