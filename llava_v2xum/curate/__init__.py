"""Videos in, an Instruct-V2Xum-style data set out (arXiv 2404.12353, section 3.1 and appendix B).

    videos -> select -> caption -> extract -> filter -> refine -> train.json, val.json, test.json

Each stage is a file of its name, a subclass of `stages.Stage`; `store.py` keeps what they found, `run.py` runs them.
Importing this package loads neither torch nor llava. `python -m llava_v2xum.curate --help` is its command line.
"""
