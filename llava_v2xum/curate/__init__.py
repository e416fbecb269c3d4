"""Videos in, an Instruct-V2Xum-style data set out (arXiv 2404.12353, section 3.1 and appendix B).

    videos -> select -> caption -> extract -> filter -> refine -> train.json, val.json, test.json

Each stage is a file of its name in `stages/`, a subclass of `store.stage.Stage`; `store/` keeps what they found,
`rounds.py` runs them.
Importing this package loads neither torch nor llava. `python -m llava_v2xum.curate --help` is its command line.
"""
